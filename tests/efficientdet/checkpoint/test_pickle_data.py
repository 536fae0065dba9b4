"""Tests of the restricted unpickler: it builds plain data and calls nothing."""

import io
import os
import pickle
import pickletools
from collections import OrderedDict
from typing import Any

import pytest
from efficientdet.checkpoint import pickle_data
from efficientdet.checkpoint.pickle_data import ForeignObjectError, Name, load_plain

PLAIN = {"a": [1, -5, 2**40, 1.5, None, True, False], "b": ("x", ("y",), ()), "c": {"nested": {3: "ü" * 300}}}


def load(data: bytes, *allowed: Name) -> Any:
    return load_plain(
        io.BytesIO(data), allowed=allowed, call=lambda name, values: (str(name), values), persistent=lambda key: [key]
    )


class Evil:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_load_plain_reads_plain_data(protocol: int) -> None:
    assert load(pickle.dumps(PLAIN, protocol)) == PLAIN


def test_load_plain_gives_calls_of_allowed_names_to_the_caller() -> None:
    found = load(pickle.dumps(OrderedDict(), 2), Name("collections", "OrderedDict"))
    assert found == ("collections.OrderedDict", ())


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    "value", [Evil(os.system, "touch /tmp/x"), Evil(eval, "1"), {"a": [Evil(print)]}, os.path.join, {1, 2}, b"bytes"]
)
def test_load_plain_refuses_objects_and_runs_nothing(value: Any, protocol: int, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(ForeignObjectError):
        load(pickle.dumps(value, protocol))
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x80\x02cos\nsystem\n.", r"os\.system"),
        (b"\x80\x02ios\nsystem\n.", "opcode INST"),
        (b"\x80\x02(o.", "opcode OBJ"),
        (b"\x80\x02\x82\x01.", "opcode EXT1"),
        (b"\x80\x02}))s.", "a tuple as a key"),
        (b"\x80\x02}}b.", ""),
        (b"\x80\x02K\x01)R.", "a call of something that is not a name"),
        (b"\x80\x02}K\x01b.", "a int as its state"),
    ],
)
def test_load_plain_names_what_it_refuses(data: bytes, words: str) -> None:
    if not words:
        assert load(data) == {}
        return
    with pytest.raises(ForeignObjectError, match=words):
        load(data)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x80\x02", b"\x80\x02.", b"\x80\x02}}.", b"\x80\x02(.", b"\x80\x02u.", b"\x80\x02h\x05.",
     b"\x80\x02]K\x01s.",
     b"\x80\x02}(K\x01u.", b"\x80\x02X\xff\xff\xff\xffa.", b"\x80\x02\x8b\xff\xff\xff\x7fa."],
)  # fmt: skip
def test_load_plain_refuses_what_is_damaged(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        load(data)


def test_load_plain_needs_no_memory_for_a_large_number_in_the_memo() -> None:
    assert load(b"\x80\x02K\x01r\xff\xff\xff\x7f.") == 1


def test_load_plain_counts_opcodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle_data, "MAX_OPCODES", 10)
    with pytest.raises(ValueError, match="more than 10 opcodes"):
        load(pickle.dumps(list(range(20)), 2))


def test_load_plain_leaves_the_stream_after_the_pickle() -> None:
    stream = io.BytesIO(pickle.dumps(1, 2) + pickle.dumps("two", 2))
    found = [load_plain(stream, allowed=(), call=lambda *_: None, persistent=lambda _: None) for _ in range(2)]
    assert found == [1, "two"]
    assert set(pickle_data._STEPS) <= {opcode.name for opcode in pickletools.opcodes}

import json
from pathlib import Path

import pytest

from tfrmod.errors import DatasetError
from tfrmod.sources import json_stream
from tfrmod.sources.json_stream import pieces


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "a.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("chunk", [4, 5, 13, 1 << 20])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("is_ascii", [True, False])
def test_json_stream_every_piece_is_found_at_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, indent: int | None, is_ascii: bool
) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK_BYTES", chunk)
    content = {"info": {"a": [1]}, "n": 123, "empty": [], "images": [{"ä": "é\u2028\\"}, [1, 2], "x", 45], "s": "t"}
    data = json.dumps(content, indent=indent, ensure_ascii=is_ascii).encode()
    found = list(pieces(written(tmp_path, b"\xef\xbb\xbf" + data if not is_ascii else data)))
    assert [(piece.key, piece.value) for piece in found] == [
        ("info", {"a": [1]}),
        ("n", 123),
        *(("images", value) for value in content["images"]),  # type: ignore[union-attr]
        ("s", "t"),
    ]
    whole = (tmp_path / "a.json").read_bytes()
    for piece in found:
        assert json.loads(whole[piece.start : piece.start + piece.num_bytes]) == piece.value


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "ends at byte 0"),
        ("[1]", "'{' is expected at byte 0"),
        ('{"a": [1, 2', "ends at byte 11"),
        ('{"a": [1 2]}', "',' is expected at byte 9"),
        ('{"a": [1,]}', "nothing follows the comma"),
        ('{"a": 1,}', "nothing follows the comma"),
        ('{"a" 1}', "':' is expected"),
        ("{1: 2}", "a name in quotes"),
        ('{"a": [tru]}', "not valid JSON at byte 7"),
        ('{"a": 1} {}', "something follows"),
        ('{"a": ' + "[" * 100_000, "recursion"),
        ('{"b": {"a": ' + '{"a":' * 100_000, "recursion"),
        ('{"a": ' + "9" * 5000 + "}", "not valid JSON"),
        (b'{"a": "\xff"}', "not valid JSON"),
        ('{"a": 1}'.encode("utf-16"), "UTF-16"),
    ],
)
def test_json_stream_what_is_no_json_is_refused_with_its_place(
    tmp_path: Path, content: str | bytes, words: str
) -> None:
    with pytest.raises(DatasetError, match=words):
        list(pieces(written(tmp_path, content)))

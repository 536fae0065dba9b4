"""Tests of the PyTorch reader: both formats give the written values, and sizes are checked before allocation."""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from efficientdet.checkpoint import torch_file
from efficientdet.checkpoint.pickle_data import ForeignObjectError
from efficientdet.checkpoint.torch_file import numbers_of, read_torch, state_dict_of

TENSORS = {
    "a.weight": np.arange(24, dtype="float32").reshape(2, 3, 4),
    "a.count": np.array(7, "int64"),
    "empty": np.zeros((0, 3), "float32"),
}


def read(path: Path) -> Any:
    with path.open("rb") as file:
        return {key: tensor.read() for key, tensor in state_dict_of(read_torch(file)).items()}


@pytest.mark.parametrize("form", ["legacy", "zipped"])
def test_read_torch_gives_what_was_written(form: str, writer: Any, tmp_path: Path) -> None:
    found = read(getattr(writer, form)(tmp_path / "a.pth", TENSORS))
    assert found.keys() == TENSORS.keys()
    for key, values in TENSORS.items():
        assert found[key].dtype == values.dtype
        np.testing.assert_array_equal(found[key], values)


def test_read_torch_takes_views_with_strides(writer: Any, tmp_path: Path) -> None:
    pickled = writer.torch_pickle({"a": np.arange(6, dtype="float32").reshape(2, 3)}, is_legacy=False)
    turned = pickled.replace(
        writer._tuple((2, 3)) + writer._tuple((3, 1)), writer._tuple((3, 2)) + writer._tuple((1, 3))
    )
    assert turned != pickled
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", turned)
        archive.writestr("m/data/0", np.arange(6, dtype="float32").tobytes())
    np.testing.assert_array_equal(read(path)["a"], np.arange(6).reshape(2, 3).T)


@pytest.mark.parametrize(
    ("shape", "strides"),
    [((2, 4), (3, 1)), ((2, 3), (4, 1)), ((10**6, 10**6), (0, 0)), ((7,), (0,)), ((2, 3), (3, -1))],
)
def test_read_torch_refuses_views_beyond_their_storage(shape: Any, strides: Any, writer: Any, tmp_path: Path) -> None:
    pickled = writer.torch_pickle({"a": np.arange(6, dtype="float32").reshape(2, 3)}, is_legacy=True)
    other = pickled.replace(
        writer._tuple((2, 3)) + writer._tuple((3, 1)), writer._tuple(shape) + writer._tuple(strides)
    )
    path = writer.legacy(tmp_path / "a.pth", {"a": np.arange(6, dtype="float32").reshape(2, 3)})
    path.write_bytes(path.read_bytes().replace(pickled, other))
    with pytest.raises(ValueError, match=r"does not fit|as a size"):
        read(path)


def test_read_torch_refuses_large_storages_before_it_allocates(writer: Any, tmp_path: Path) -> None:
    path = writer.legacy(tmp_path / "a.pth", TENSORS)
    huge = struct.pack("<i", 2**31 - 1)
    path.write_bytes(path.read_bytes().replace(b"J" + struct.pack("<i", 24), b"J" + huge))
    with pytest.raises(ValueError, match="are the limit"):
        read(path)


@pytest.mark.parametrize("form", ["legacy", "zipped"])
def test_read_torch_refuses_a_file_that_is_cut_off(form: str, writer: Any, tmp_path: Path) -> None:
    whole = getattr(writer, form)(tmp_path / "a.pth", TENSORS).read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        with pytest.raises((ValueError, ForeignObjectError)):
            read_torch(io.BytesIO(whole[:length]))


def test_read_torch_refuses_other_archives(tmp_path: Path) -> None:
    for members, words in (
        (["a/data.pkl", "b/data.pkl"], "2 files data.pkl"),
        (["a/data.pkl", "a/code/x.py"], "TorchScript"),
    ):
        path = tmp_path / "a.pth"
        with zipfile.ZipFile(path, "w") as archive:
            for name in members:
                archive.writestr(name, b"\x80\x02}.")
        with pytest.raises((ValueError, ForeignObjectError), match=words):
            read(path)


def test_read_torch_refuses_a_pickle_of_another_program() -> None:
    with pytest.raises(ForeignObjectError, match="PyTorch did not write"):
        read_torch(io.BytesIO(b"\x80\x02K\x01.\x80\x02K\x02."))


def test_state_dict_of_finds_the_best_weights_within_a_checkpoint(writer: Any, tmp_path: Path) -> None:
    path = writer.legacy(tmp_path / "a.pth", TENSORS)
    with path.open("rb") as file:
        tensors = read_torch(file)
        raw, average = {f"module.{key}": each for key, each in tensors.items()}, dict(tensors)  # type: ignore[attr-defined]
        assert state_dict_of({"epoch": 3, "state_dict": raw}).keys() == TENSORS.keys()
        assert state_dict_of({"state_dict": raw, "state_dict_ema": average}) == average
        with pytest.raises(ForeignObjectError, match="a dict without tensors"):
            state_dict_of({"epoch": 3})
        with pytest.raises(ForeignObjectError, match="a list without tensors"):
            state_dict_of([])


def test_numbers_of_reads_numbers_of_16_bits() -> None:
    values = np.array([1.5, -2, 0], "float32")
    brain = (values.view("uint32") >> 16).astype("<u2").tobytes()
    np.testing.assert_array_equal(numbers_of(brain, "bfloat16"), values)
    np.testing.assert_array_equal(numbers_of(values.astype("<f2").tobytes(), "<f2"), values)
    assert torch_file.bytes_of("bfloat16") == torch_file.bytes_of("<f2") == 2

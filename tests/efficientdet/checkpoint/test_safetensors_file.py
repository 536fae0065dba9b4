"""Tests of the safetensors reader: values, metadata, and invalid headers."""

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from efficientdet.checkpoint.safetensors_file import read_safetensors


def file_of(header: Any, data: bytes = b"\0" * 8) -> io.BytesIO:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return io.BytesIO(struct.pack("<Q", len(text)) + text + data)


def entry(**changes: Any) -> dict[str, Any]:
    return {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


def test_read_safetensors_gives_what_was_written(writer: Any, tmp_path: Path) -> None:
    tensors = {"a": np.arange(6, dtype="float32").reshape(3, 2), "n": np.array(5, "int64")}
    with writer.safetensors(tmp_path / "a.safetensors", tensors, license="mit").open("rb") as file:
        found = read_safetensors(file)
        assert found.metadata == {"license": "mit"}
        for key, values in tensors.items():
            np.testing.assert_array_equal(found.tensors[key].read(), values)


def test_read_safetensors_reads_bfloat16() -> None:
    data = (np.array([1.5, -3], "float32").view("uint32") >> 16).astype("<u2").tobytes()
    found = read_safetensors(file_of(entry(dtype="BF16", data_offsets=[0, 4]), data))
    np.testing.assert_array_equal(found.tensors["a"].read(), [1.5, -3])


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"a": 1}',
        b'{"__metadata__": 3}',
        b"[" * 100000,
        entry(dtype="F8"),
        entry(shape=[3]),
        entry(shape=[-2]),
        entry(shape=[True, 2]),
        entry(data_offsets=[8, 16]),
        entry(shape=[10**14], data_offsets=[0, 4 * 10**14]),
        entry(shape=[1] * 9),
        entry(data_offsets=[0]),
    ],
)
def test_read_safetensors_refuses_headers_that_lie(header: Any) -> None:
    with pytest.raises((ValueError, RecursionError)):
        read_safetensors(file_of(header))


@pytest.mark.parametrize("data", [b"", b"\0" * 8, struct.pack("<Q", 1 << 60) + b"{}", struct.pack("<Q", 50) + b"{}"])
def test_read_safetensors_refuses_a_header_that_is_not_there(data: bytes) -> None:
    with pytest.raises(ValueError, match="header takes"):
        read_safetensors(io.BytesIO(data))

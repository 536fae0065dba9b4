"""Reader of safetensors files: the length of a JSON header, the header, and the values of the tensors."""

import json
import math
import os
from collections.abc import Mapping
from typing import IO, Any, NamedTuple

import numpy as np

from efficientdet.checkpoint.torch_file import StoredTensor, bytes_of, numbers_of

MAX_HEADER_BYTES = 16 << 20
"""The header of EfficientNet-B7 takes 0.1 MB."""

_DTYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "bfloat16"},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?"},
}


class Safetensors(NamedTuple):
    """Content of a safetensors file."""

    tensors: Mapping[str, StoredTensor]
    metadata: Mapping[str, str]
    """Strings that its writer added."""


def read_safetensors(file: IO[bytes]) -> Safetensors:
    """Returns the tensors of a file, which must stay open until their values are read.

    Raises:
      ValueError: it is damaged, or its header exceeds the limit.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
        raise ValueError(f"its header takes {length:,} bytes; at most {min(MAX_HEADER_BYTES, size - 8):,} are possible")
    header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    extra = header.pop("__metadata__", None) or {}
    if not isinstance(extra, dict):
        raise ValueError("its __metadata__ is not a JSON object")
    start = 8 + length
    tensors = {name: _tensor(file, name, entry, start, size) for name, entry in header.items()}
    return Safetensors(tensors, {str(key): str(value) for key, value in extra.items()})


def _tensor(file: IO[bytes], name: str, entry: Any, start: int, size: int) -> StoredTensor:
    if not isinstance(entry, dict) or entry.get("dtype") not in _DTYPES:
        raise ValueError(f"the tensor {name[:80]!r} has none of the supported dtypes: {', '.join(_DTYPES)}")
    dtype = _DTYPES[entry["dtype"]]
    shape, places = _naturals(entry.get("shape"), name), _naturals(entry.get("data_offsets"), name)
    num_bytes = math.prod(shape) * bytes_of(dtype)
    if len(places) != 2 or places[1] - places[0] != num_bytes or start + places[1] > size:
        raise ValueError(f"the tensor {name[:80]!r} needs {num_bytes:,} bytes, and is truncated or at another offset")

    def read() -> np.ndarray:
        file.seek(start + places[0])
        return numbers_of(file.read(num_bytes), dtype).reshape(shape)

    return StoredTensor(shape, read)


def _naturals(values: Any, name: str) -> tuple[int, ...]:
    is_list = isinstance(values, list) and len(values) <= 8
    if not is_list or not all(type(value) is int and 0 <= value < 1 << 48 for value in values):
        raise ValueError(f"the tensor {name[:80]!r} has no valid shape or offsets")
    return tuple(values)

"""Reader of PyTorch state dicts without PyTorch: pickles from before version 1.6, and zip files since then.

Only tensors and plain data are read from the pickle (`pickle_data`). Sizes are
compared with the file before memory is allocated.
"""

import contextlib
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO

import numpy as np

from efficientdet.checkpoint.pickle_data import ForeignObjectError, Name, load_plain
from efficientdet.checkpoint.reader import Shape

MAX_PICKLE_BYTES = 16 << 20
"""Limit of the pickle without the values; that of EfficientNet-B7 takes 0.2 MB."""

MAX_STORAGE_BYTES = 1 << 30
"""Larger tensors are rejected; the largest of EfficientNet-B7 takes 10 MB."""

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_ORDERED_DICT = Name("collections", "OrderedDict")
_REBUILD_TENSOR = Name("torch._utils", "_rebuild_tensor_v2")
_REBUILD_PARAMETER = Name("torch._utils", "_rebuild_parameter")
_SIZE = Name("torch", "Size")
_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_STORAGES = {Name("torch", storage): dtype for storage, dtype in _DTYPES.items()}
_ALLOWED = {_ORDERED_DICT, _REBUILD_TENSOR, _REBUILD_PARAMETER, _SIZE, *_STORAGES}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a file whose values have not been read."""

    shape: Shape
    read: Callable[[], np.ndarray]
    """Returns its values; 16-bit floats as float32."""


@dataclass(frozen=True)
class _Storage:
    """A contiguous array of numbers with tensors as views."""

    key: str
    dtype: str
    count: int

    @property
    def num_bytes(self) -> int:
        return self.count * bytes_of(self.dtype)


ReadStorage = Callable[[_Storage], bytes]


def bytes_of(dtype: str) -> int:
    """Returns the size of a number in bytes."""
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def numbers_of(data: bytes, dtype: str) -> np.ndarray:
    """Returns bytes as numbers; bfloat16, which NumPy lacks, as float32."""
    if dtype != "bfloat16":
        numbers = np.frombuffer(data, dtype)
        return numbers.astype("float32") if dtype == "<f2" else numbers
    return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")


def read_torch(file: IO[bytes]) -> object:
    """Returns the object that `torch.save` wrote, with a `StoredTensor` for each tensor.

    Args:
      file: open and seekable; it must stay open until the values are read.

    Raises:
      ForeignObjectError: it contains more than tensors and plain data.
      ValueError: it is damaged, or exceeds the limits.
    """
    file.seek(0)
    is_zip = file.read(4) == b"PK\x03\x04"
    file.seek(0)
    return _read_zip(file) if is_zip else _read_legacy(file)


class _Tensors:
    """Creates tensors from the calls and persistent ids of a pickle."""

    def __init__(self) -> None:
        self.storages: dict[str, _Storage] = {}
        self.read_storage: ReadStorage = _not_placed

    def load(self, stream: IO[bytes]) -> object:
        return load_plain(stream, allowed=_ALLOWED, call=self._call, persistent=self._storage)

    def _storage(self, found: object) -> _Storage:
        if not isinstance(found, tuple) or len(found) not in (5, 6) or found[0] != "storage":
            raise ForeignObjectError("a persistent id that is not a storage")
        _, kind, key, _, count = found[:5]
        if len(found) == 6 and found[5] is not None:
            raise ForeignObjectError("a view of a storage, as PyTorch before 0.4 wrote")
        is_count = isinstance(count, int) and not isinstance(count, bool) and count >= 0
        if not isinstance(kind, Name) or kind not in _STORAGES or not isinstance(key, str) or not is_count:
            raise ForeignObjectError("a storage of another kind")
        storage = _Storage(key, _STORAGES[kind], int(str(count)))
        if storage.num_bytes > MAX_STORAGE_BYTES:
            raise ValueError(f"a tensor takes {storage.num_bytes:,} bytes; {MAX_STORAGE_BYTES:,} are the limit")
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"storage {key!r} has two sizes")
        return storage

    def _call(self, function: Name, arguments: tuple[object, ...]) -> object:
        if function == _REBUILD_TENSOR and len(arguments) >= 4:
            storage, offset, shape, strides = arguments[:4]
            if isinstance(storage, _Storage):
                return self._tensor(storage, _naturals((offset,))[0], _naturals(shape), _naturals(strides))
        if function == _REBUILD_PARAMETER and arguments and isinstance(arguments[0], StoredTensor):
            return arguments[0]
        if function == _SIZE and len(arguments) == 1:
            return _naturals(arguments[0])
        if function == _ORDERED_DICT and arguments in ((), ([],)):
            return {}
        raise ForeignObjectError(f"a call of {function} with other arguments than those of a tensor")

    def _tensor(self, storage: _Storage, offset: int, shape: Shape, strides: Shape) -> StoredTensor:
        count = int(np.prod(shape, dtype="object"))
        last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        # The size of an expanded tensor is not limited by its storage.
        if count > storage.count or (count and last >= storage.count):
            raise ValueError(f"a tensor of shape {shape} does not fit in its storage of {storage.count} numbers")

        def read() -> np.ndarray:
            numbers = numbers_of(self.read_storage(storage), storage.dtype)
            if not count:
                return np.zeros(shape, numbers.dtype)
            steps = [stride * numbers.itemsize for stride in strides]
            return np.array(np.lib.stride_tricks.as_strided(numbers[offset:], shape, steps))

        return StoredTensor(shape, read)


def _not_placed(storage: _Storage) -> bytes:
    raise ValueError(f"storage {storage.key!r} is not in the file")


def _naturals(values: object) -> Shape:
    if not isinstance(values, tuple) or len(values) > 8:
        raise ValueError("a tensor has no shape")
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 48:
            raise ValueError(f"a tensor has {value!r:.40} as a size, a stride or an offset")
    return tuple(int(value) for value in values)


def _read_legacy(file: IO[bytes]) -> object:
    stream = io.BytesIO(file.read(MAX_PICKLE_BYTES))
    tensors = _Tensors()
    if tensors.load(stream) != _MAGIC or tensors.load(stream) != _PROTOCOL:
        raise ForeignObjectError("a pickle that PyTorch did not write")
    system = tensors.load(stream)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("it was written on a big-endian machine")
    value, keys = tensors.load(stream), tensors.load(stream)
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in tensors.storages for key in keys):
        raise ValueError("its list of storages differs from those of its tensors")
    size = file.seek(0, os.SEEK_END)
    position, places = stream.tell(), dict[str, int]()
    for key in keys:
        file.seek(position)
        count = int.from_bytes(file.read(8), "little", signed=True)
        if count != tensors.storages[key].count:
            raise ValueError(f"storage {key!r} has {count} numbers where {tensors.storages[key].count} must be")
        places[key] = position + 8
        position += 8 + tensors.storages[key].num_bytes
    if position > size:
        raise ValueError(f"it ends after {size:,} bytes, and its tensors need {position:,}")

    def read_storage(storage: _Storage) -> bytes:
        if storage.key not in places:
            return _not_placed(storage)
        file.seek(places[storage.key])
        return file.read(storage.num_bytes)

    tensors.read_storage = read_storage
    return value


def _read_zip(file: IO[bytes]) -> object:
    with zip_errors():
        archive = zipfile.ZipFile(file)
    members = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError(f"it has {len(pickles)} files data.pkl instead of one")
    root = pickles[0].removesuffix("data.pkl")
    if any(name.startswith(f"{root}code/") for name in members):
        raise ForeignObjectError("a TorchScript program")

    def read_member(name: str, limit: int) -> bytes:
        info = members.get(root + name)
        if info is None or info.file_size > limit:
            raise ValueError(f"its member {name!r} is missing, or larger than {limit:,} bytes")
        with zip_errors():
            return archive.read(info)

    if f"{root}byteorder" in members and read_member("byteorder", 16).strip() != b"little":
        raise ValueError("it was written on a big-endian machine")
    tensors = _Tensors()
    value = tensors.load(io.BytesIO(read_member("data.pkl", MAX_PICKLE_BYTES)))
    for storage in tensors.storages.values():
        info = members.get(f"{root}data/{storage.key}")
        if info is None or info.file_size != storage.num_bytes:
            raise ValueError(f"storage {storage.key!r} is missing, or does not have {storage.num_bytes:,} bytes")
    tensors.read_storage = lambda storage: read_member(f"data/{storage.key}", storage.num_bytes)
    return value


@contextlib.contextmanager
def zip_errors() -> Iterator[None]:
    """Converts zipfile's exceptions for a damaged archive to ValueError."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(str(error)) from error


def state_dict_of(value: object) -> Mapping[str, StoredTensor]:
    """Returns the named tensors of a state dict, or of the best state dict in a training checkpoint.

    Training checkpoints store it as `state_dict_ema`, `state_dict`, `model_ema`,
    `model` or `net`; DataParallel adds the prefix `module.` to each name.

    Raises:
      ForeignObjectError: there is none.
    """
    for key in ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "net"):
        inner = value.get(key) if isinstance(value, dict) else None
        if isinstance(inner, dict) and any(isinstance(tensor, StoredTensor) for tensor in inner.values()):
            value = inner
            break
    found = {str(key): each for key, each in value.items()} if isinstance(value, dict) else {}
    tensors = {key: tensor for key, tensor in found.items() if isinstance(tensor, StoredTensor)}
    if not tensors:
        raise ForeignObjectError(f"a {type(value).__name__} without tensors")
    prefix = "module." if all(key.startswith("module.") for key in tensors) else ""
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}

"""Weights files in the formats of other libraries, written without these libraries."""

import base64
import hashlib
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np


class WeightsWriter:
    """Writes state dicts in the formats of PyTorch, safetensors and wheels, without these libraries."""

    def torch_pickle(self, tensors: dict[str, np.ndarray], *, is_legacy: bool) -> bytes:
        """Returns the pickle of a state dict whose storages are named by the indices of the tensors."""
        whole = b"\x80\x02ccollections\nOrderedDict\n)R("
        for number, (name, values) in enumerate(tensors.items()):
            kind = b"LongStorage" if values.dtype == np.int64 else b"FloatStorage"
            storage = self._text("storage") + b"ctorch\n" + kind + b"\n" + self._text(str(number)) + self._text("cpu")
            storage += self._int(values.size) + (b"N" if is_legacy else b"")
            strides = [step // values.itemsize for step in np.empty(values.shape, values.dtype).strides]
            whole += self._text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n((" + storage + b"tQ" + self._int(0)
            whole += self._tuple(values.shape) + self._tuple(strides) + b"\x89ccollections\nOrderedDict\n)RtR"
        return whole + b"u."

    def legacy(self, path: Path, tensors: dict[str, np.ndarray]) -> Path:
        magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
        system = b"\x80\x02}(" + self._text("little_endian") + b"\x88u."
        keys = b"\x80\x02](" + b"".join(self._text(str(number)) for number in range(len(tensors))) + b"e."
        values = b"".join(struct.pack("<q", each.size) + each.tobytes() for each in tensors.values())
        head = magic + b"\x80\x02M\xe9\x03." + system
        path.write_bytes(head + self.torch_pickle(tensors, is_legacy=True) + keys + values)
        return path

    def zipped(self, path: Path, tensors: dict[str, np.ndarray]) -> Path:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", self.torch_pickle(tensors, is_legacy=False))
            archive.writestr("archive/byteorder", "little")
            for number, values in enumerate(tensors.values()):
                archive.writestr(f"archive/data/{number}", values.tobytes())
            archive.writestr("archive/version", "3\n")
        return path

    def safetensors(self, path: Path, tensors: dict[str, np.ndarray], **metadata: str) -> Path:
        header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
        position = 0
        for name, values in tensors.items():
            dtype = {"float32": "F32", "int64": "I64"}[values.dtype.name]
            ends = [position, position := position + values.nbytes]
            header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": ends}
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(each.tobytes() for each in tensors.values()))
        return path

    def wheel(self, path: Path, member: str, data: bytes, *, licence: str = "License: MIT", record: str = "") -> Path:
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(member, data)
            archive.writestr(
                "weights-0.1.dist-info/METADATA", f"Metadata-Version: 2.1\nName: weights\n{licence}\n\nText\n"
            )
            archive.writestr("weights-0.1.dist-info/RECORD", record or f"{member},sha256={digest},{len(data)}\n")
        return path

    def _text(self, text: str) -> bytes:
        return b"X" + struct.pack("<I", len(text)) + text.encode()

    def _int(self, number: int) -> bytes:
        return b"J" + struct.pack("<i", number)

    def _tuple(self, numbers: Any) -> bytes:
        return b"(" + b"".join(self._int(int(number)) for number in numbers) + b"t"

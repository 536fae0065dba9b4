"""Fixtures: a network with a few hundred weights per layer, and weights files in the formats of other libraries."""

import base64
import gzip
import hashlib
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from efficientdet.config import DetectorConfig, get_config

STAGES = ["r1_k3_s11_e1_i32_o8_se0.25", *["r1_k3_s22_e2_i8_o8_se0.25"] * 3, "r1_k3_s22_e2_i8_o16_se0.25"]
SMALL = {
    "num_classes": 3,
    "image_size": 64,
    "fpn_num_filters": 8,
    "fpn_cell_repeats": 1,
    "box_class_repeats": 2,
    "backbone_config": {"blocks": STAGES},
}


@pytest.fixture(scope="session")
def small_config() -> DetectorConfig:
    return get_config("efficientdet-d0", **SMALL)


@pytest.fixture(scope="session")
def small_model(small_config: DetectorConfig) -> Any:
    from efficientdet.model import build_model

    return build_model(small_config)


@pytest.fixture(scope="session")
def other_classes_model(small_config: DetectorConfig) -> Any:
    from efficientdet.model import build_model

    return build_model(small_config.override({"num_classes": 5}))


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


@pytest.fixture(scope="session")
def writer() -> WeightsWriter:
    return WeightsWriter()


def procedural_value(key: str, shape: Sequence[int]) -> np.ndarray:
    """Returns values that depend only on the key and keep activations in range."""
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, "int64")
    values = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape).astype("float32")
    if key.endswith("running_var"):
        return (0.5 + values * values * 0.5).astype("float32")
    if key.endswith(("running_mean", "bias")):
        return (0.1 * values).astype("float32")
    if len(shape) == 1:
        return (1 + 0.1 * values).astype("float32")
    return (values / np.float32(np.sqrt(np.prod(shape[1:])))).astype("float32")


@pytest.fixture(scope="session")
def torch_golden() -> Any:
    """Returns outputs recorded from PyTorch; `source` in the file names the networks."""
    path = Path(__file__).resolve().parents[2] / "contract/golden/torch_efficientnets.json.gz"
    return json.loads(gzip.decompress(path.read_bytes()))


@pytest.fixture(scope="session")
def state_dict(torch_golden: Any) -> Any:
    """Returns a function that builds a state dict of a network with a library's names."""

    def build(network: str) -> dict[str, np.ndarray]:
        shapes = torch_golden["procedural"][network]["shapes"]
        return {key: procedural_value(key, shape) for key, shape in shapes}

    return build


@pytest.fixture
def tiny_backbones(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Replaces all backbones by small ones with a few thousand weights, for tests of files."""
    from efficientdet.backbones import stages
    from efficientdet.checkpoint import layouts

    tiny = ["r1_k3_s11_e1_i32_o16_se0.25", "r2_k3_s22_e2_i16_o24_se0.25"]
    monkeypatch.setattr(layouts, "block_specs", lambda name: stages.block_specs(name, tiny))
    monkeypatch.setattr(layouts, "HEAD_FILTERS", 8)
    layouts._variables.cache_clear()
    yield
    layouts._variables.cache_clear()


def tiny_state(layout_name: str, backbone: str, num_classes: int = 5) -> dict[str, np.ndarray]:
    """Returns the weights of a backbone by a library's names; with `tiny_backbones` those of the small one."""
    from efficientdet.checkpoint import layouts

    layout = next(each for each in layouts.LAYOUTS if each.name == layout_name)
    shapes = {each.key: [size or num_classes for size in each.shape] for each in layouts._variables(layout, backbone)}
    return {key: procedural_value(key, shape) for key, shape in shapes.items()}


@pytest.fixture
def state_of(tiny_backbones: None) -> Any:
    return tiny_state

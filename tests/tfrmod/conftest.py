"""Fixtures: small generated datasets."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Thing = tuple[str, float, float, float, float]


def encoded_image(
    format: str = "JPEG", *, size: tuple[int, int] = (48, 64), mode: str = "RGB", seed: int = 0, orientation: int = 1
) -> bytes:
    """Returns an encoded image of colored blocks; size is (height, width)."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((size[1], size[0]), Image.Resampling.NEAREST)
    image = image.convert("RGB").convert(mode)
    exif = Image.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    out = io.BytesIO()
    image.save(out, format, **({"exif": exif} if orientation != 1 else {}))
    return out.getvalue()


def voc_xml(
    things: Sequence[Thing] = (), *, filename: str | None = None, size: tuple[int, int] | None = (48, 64)
) -> str:
    """Returns a VOC annotation; a thing is (name, xmin, ymin, xmax, ymax), size is (height, width)."""
    parts = ["<annotation>"]
    if filename is not None:
        parts.append(f"<filename>{filename}</filename>")
    if size is not None:
        parts.append(f"<size><width>{size[1]}</width><height>{size[0]}</height><depth>3</depth></size>")
    for name, *box in things:
        sides = "".join(
            f"<{key}>{value}</{key}>" for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        )
        parts.append(f"<object><name>{name}</name><bndbox>{sides}</bndbox></object>")
    return "".join([*parts, "</annotation>"])


class VocFolder:
    """A VOC dataset that grows image by image."""

    def __init__(self, root: Path, images: str = "JPEGImages", annotations: str = "Annotations"):
        self.root = root
        self.images = images
        self.annotations = annotations
        self.count = 0

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def add(self, stem: str, things: Sequence[Thing] = (("cat", 5, 5, 30, 30),), *, extension: str = "jpg") -> None:
        self.count += 1
        self.write(f"{self.images}/{stem}.{extension}", encoded_image(seed=self.count))
        self.write(f"{self.annotations}/{stem}.xml", voc_xml(things, filename=f"{stem}.{extension}"))

    def add_many(self, count: int, names: Sequence[str] = ("cat", "dog")) -> "VocFolder":
        for index in range(count):
            self.add(f"{index:04d}", [(names[index % len(names)], 5, 5, 30 + index % 9, 30)])
        return self


@pytest.fixture
def encode_image() -> Callable[..., bytes]:
    return encoded_image


@pytest.fixture
def xml() -> Callable[..., str]:
    return voc_xml


@pytest.fixture
def voc_folder(tmp_path: Path) -> VocFolder:
    return VocFolder(tmp_path / "data")


@pytest.fixture
def voc_in() -> type[VocFolder]:
    return VocFolder

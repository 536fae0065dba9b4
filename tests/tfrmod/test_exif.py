import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from tfrmod.exif import exif_orientation, swaps_sides, upright, upright_box


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_box_follows_the_marker_it_surrounds(orientation: int) -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[2:6, 5:14] = 255
    turned = np.asarray(upright(Image.fromarray(pixels), orientation))
    y0, x0, y1, x1 = map(int, upright_box((2, 5, 6, 14), orientation, height=20, width=30))
    assert turned[y0:y1, x0:x1].all()
    assert (turned > 0).sum() == (y1 - y0) * (x1 - x0) * 3
    assert turned.shape[:2] == ((30, 20) if swaps_sides(orientation) else (20, 30))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turning_is_what_pillow_does(orientation: int) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    image.save(out, "PNG", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(out))
    np.testing.assert_array_equal(np.asarray(upright(image, orientation)), np.asarray(expected))


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_tag_is_found_in_either_byte_order(order: str) -> None:
    mark = {"<": b"II*\x00", ">": b"MM\x00*"}[order]
    entries = struct.pack(f"{order}HHIHH", 0x0110, 2, 1, 0, 0) + struct.pack(f"{order}HHIHH", 0x0112, 3, 1, 6, 0)
    data = mark + struct.pack(f"{order}IH", 8, 2) + entries
    assert exif_orientation(b"Exif\x00\x00" + data) == 6
    assert exif_orientation(data) == 6


@pytest.mark.parametrize(
    "data", [b"", b"Exif\x00\x00", b"II*\x00\xff\xff\xff\xff", b"MM\x00*\x00\x00\x00\x08\xff\xff", b"junk" * 9]
)
def test_exif_broken_exif_means_upright(data: bytes) -> None:
    assert exif_orientation(data) == 1

"""Tests of truncated JPEGs: kept if almost complete, rejected otherwise, with and without end mark."""

import io
import re
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfrmod.image_file import ImageError, check_image, decode_image
from tfrmod.jpeg_truncation import MAX_MISSING, structure_of
from tfrmod.problems import NOTES
from tfrmod.sources import Entry
from tfrmod.validate_image import Settings, validate_image

END = b"\xff\xd9"


def picture(mode: str = "RGB", height: int = 200, width: int = 300) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BILINEAR).convert(mode)


def jpeg(image: Image.Image, **given: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", **{"quality": 90, **given})
    return out.getvalue()


def cut(data: bytes, num_bytes: int, *, end: bytes = b"") -> bytes:
    """Returns a JPEG that lacks the last bytes of its data."""
    return data[: structure_of(data).end - num_bytes] + end


def resized(data: bytes, height: int, width: int) -> bytes:
    """Returns a JPEG whose header states another size."""
    frame = re.search(rb"\xff[\xc0\xc2]\0.\x08", data, re.DOTALL)
    assert frame is not None
    return data[: frame.end()] + struct.pack(">HH", height, width) + data[frame.end() + 4 :]


@pytest.mark.parametrize("end", [b"", END], ids=["no end mark", "end mark"])
@pytest.mark.parametrize("given", [{}, {"progressive": True}, {"optimize": True}, {"subsampling": 0}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_jpeg_truncation_jpeg_without_much_of_its_data_is_refused(
    mode: str, given: dict, end: bytes, share: float
) -> None:
    if end and given.get("progressive"):
        pytest.skip("its first scan is whole: a decoder shows all of the image, coarsely, and nothing says more")
    data = jpeg(picture(mode), **given)
    for short in (cut(data, int(share * len(data)), end=end), cut(data, int(share * len(data)), end=end + b"junk")):
        with pytest.raises(ImageError, match=r"truncated|cannot be read|header is broken"):
            check_image(short)
        with pytest.raises(ImageError):
            decode_image(short)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("num_bytes", [0, 1, 20])
def test_jpeg_truncation_jpeg_without_its_last_bytes_is_kept_and_the_share_said(mode: str, num_bytes: int) -> None:
    data = jpeg(picture(mode))
    checked_image = check_image(cut(data, num_bytes))
    assert 0 <= checked_image.missing <= MAX_MISSING
    assert (checked_image.missing > 0) == (num_bytes > 0)
    assert checked_image.encoded == cut(data, num_bytes, end=END)
    seen = tf.io.decode_jpeg(checked_image.encoded, channels=3).numpy().astype(int)
    expected = tf.io.decode_jpeg(data, channels=3).numpy().astype(int)
    assert (seen != expected).any(axis=2).mean() <= checked_image.missing + 1e-9
    assert np.array_equal(decode_image(cut(data, num_bytes)), decode_image(checked_image.encoded))


def test_jpeg_truncation_rotated_jpeg_without_its_last_bytes_is_kept_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = jpeg(picture(), exif=exif)
    checked_image = check_image(cut(data, 20))
    assert 0 < checked_image.missing <= MAX_MISSING
    assert (checked_image.height, checked_image.width) == (300, 200)
    assert check_image(cut(data, 20), longest_side=100).missing == checked_image.missing
    for end in (b"", END):
        with pytest.raises(ImageError):
            check_image(cut(data, len(data) // 2, end=end))
        with pytest.raises(ImageError):
            check_image(cut(data, len(data) // 2, end=end), longest_side=100)


@pytest.mark.parametrize("given", [{}, {"progressive": True}, {"optimize": True}])
@pytest.mark.parametrize("color", [(128, 128, 128), (114, 114, 114), (255, 255, 255)])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_truncation_bars_of_grey_are_no_missing_data(mode: str, color: tuple[int, int, int], given: dict) -> None:
    for top in (picture().crop((0, 0, 300, 120)), None):
        padded = Image.new("RGB", (300, 200), color)
        if top is not None:
            padded.paste(top)
        data = jpeg(padded.convert(mode), **given)
        checked_image = check_image(data)
        assert checked_image.missing == 0
        assert (checked_image.encoded is data) == (mode != "CMYK")
        decode_image(data)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(2700, 65_500), (13_000, 13_000)])
def test_jpeg_truncation_bytes_that_cannot_hold_the_stated_pixels_are_refused_undecoded(
    size: tuple[int, int], progressive: bool
) -> None:
    data = resized(jpeg(picture(height=16, width=16), progressive=progressive), *size)
    tracemalloc.start()
    try:
        for reader in (check_image, decode_image):
            with pytest.raises(ImageError, match=r"it is truncated: its [\d,]+ bytes cannot hold") as caught:
                reader(data)
            assert caught.value.code == "image_undecodable"
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("given", [{}, {"progressive": True}, {"optimize": True}])
def test_jpeg_truncation_smallest_jpeg_of_its_size_holds_its_pixels(given: dict) -> None:
    for mode, color in (("RGB", "white"), ("L", "black"), ("RGB", "grey")):
        data = jpeg(Image.new(mode, (4000, 3000), color), **{"quality": 1, **given})
        assert check_image(data).missing == 0


def test_jpeg_truncation_examine_notes_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(cut(jpeg(picture()), 20))
    examined = validate_image(Settings(tmp_path, "photos", tmp_path), 0, Entry("a.jpg", ""))
    assert examined.image is not None
    (problem,) = [problem for problem in examined.problems if problem.code == "image_truncated_slightly"]
    assert re.fullmatch(r"0\.\d\d% of it is missing", problem.message)
    assert problem.code in NOTES
    assert examined.image.path is not None
    assert tf.io.decode_image(examined.image.path.read_bytes()).shape == (200, 300, 3)

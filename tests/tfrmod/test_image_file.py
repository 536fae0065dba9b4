import io
import struct
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfrmod import image_file
from tfrmod.image_file import ImageError, check_image, decode_image, upright_size


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def tensorflow_sees(data: bytes) -> np.ndarray:
    return tf.io.decode_image(data, channels=3, expand_animations=False).numpy()


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True, "quality": 30}])
def test_image_file_fine_jpeg_is_copied_unchanged(mode: str, options: dict[str, object]) -> None:
    data = saved(Image.radial_gradient("L").convert(mode), "JPEG", **options)
    checked_image = check_image(data)
    assert checked_image.encoded is data
    assert (checked_image.format, checked_image.height, checked_image.width, checked_image.content) == (
        "jpeg",
        256,
        256,
        "JPEG",
    )


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_image_file_fine_png_is_copied_unchanged_and_tensorflow_reads_it_rightly(encode_image, mode: str) -> None:
    data = encode_image("PNG", mode=mode)
    assert check_image(data).encoded is data
    np.testing.assert_array_equal(tensorflow_sees(data), decode_image(data))


@pytest.mark.parametrize("format", ["BMP", "GIF", "TIFF", "WEBP"])
def test_image_file_other_formats_are_encoded_anew_under_their_true_name(encode_image, format: str) -> None:
    options = {"lossless": True} if format == "WEBP" else {}
    image = Image.open(io.BytesIO(encode_image("PNG", mode="P"))).convert("RGB")
    checked = check_image(saved(image, format, **options))
    assert checked.content == format
    assert checked.format == ("jpeg" if format == "WEBP" else "png")
    difference = np.abs(tensorflow_sees(checked.encoded).astype(int) - np.asarray(image))
    assert difference.mean() < (4 if format == "WEBP" else 0.1)


def test_image_file_large_lossless_image_becomes_a_jpeg(encode_image) -> None:
    checked = check_image(encode_image("BMP", size=(600, 600)))
    assert checked.format == "jpeg"
    assert len(checked.encoded) < 600 * 600


def test_image_file_cmyk_becomes_rgb(encode_image) -> None:
    checked = check_image(encode_image(mode="CMYK"))
    assert (checked.format, tensorflow_sees(checked.encoded).shape) == ("jpeg", (48, 64, 3))
    assert np.abs(decode_image(encode_image(mode="CMYK")).astype(int) - decode_image(encode_image())).mean() < 8


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_image_file_transparent_pixels_become_white(mode: str) -> None:
    image = Image.new("RGBA", (8, 4), (0, 0, 0, 255))
    image.putpixel((3, 2), (0, 0, 0, 0))
    pixels = decode_image(saved(image.convert(mode), "PNG"))
    assert pixels[2, 3].tolist() == [255, 255, 255]
    assert pixels.sum() == 3 * 255


def test_image_file_opaque_alpha_channel_is_dropped_without_a_trace(encode_image) -> None:
    checked = check_image(encode_image("PNG", mode="RGBA"))
    np.testing.assert_array_equal(tensorflow_sees(checked.encoded), decode_image(encode_image("PNG")))


def test_image_file_transparent_palette_entry_counts_as_alpha() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    data = saved(image, "PNG", transparency=0)
    assert (decode_image(data) == 255).all()
    assert check_image(data).encoded is not data


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_image_file_sixteen_bits_lose_their_lower_half(format: str) -> None:
    values = (np.arange(64, dtype=np.uint16) * 1000).reshape(8, 8)
    data = saved(Image.fromarray(values), format)
    np.testing.assert_array_equal(decode_image(data)[..., 0], values >> 8)
    np.testing.assert_array_equal(tensorflow_sees(check_image(data).encoded)[..., 1], values >> 8)


def test_image_file_floating_point_pixels_have_no_way_to_rgb() -> None:
    with pytest.raises(ImageError, match="mode F"):
        check_image(saved(Image.new("F", (4, 4)), "TIFF"))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_image_file_exif_is_applied_once(encode_image, format: str, orientation: int) -> None:
    checked = check_image(encode_image(format, orientation=orientation))
    upright = (64, 48) if orientation == 6 else (48, 64)
    assert (checked.height, checked.width, checked.orientation) == (*upright, orientation)
    assert checked.stored_size == (48, 64)
    assert check_image(checked.encoded).orientation == 1
    expected = np.rot90(decode_image(encode_image(format)), k=3 if orientation == 6 else 2)
    assert np.abs(decode_image(encode_image(format, orientation=orientation)).astype(int) - expected).mean() < 1
    assert np.abs(tensorflow_sees(checked.encoded).astype(int) - expected).mean() < 4


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP"])
@pytest.mark.parametrize("share", [0.05, 0.6, 0.98])
def test_image_file_cut_short_is_found(format: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)
    data = saved(Image.fromarray(noise), format)
    with pytest.raises(ImageError):
        check_image(data[: int(len(data) * share)])


def test_image_file_progressive_jpeg_cut_short_is_found() -> None:
    data = saved(Image.radial_gradient("L"), "JPEG", progressive=True)
    with pytest.raises(ImageError, match="truncated"):
        check_image(data[:-200])


def test_image_file_flipped_bit_in_a_png_is_found(encode_image) -> None:
    data = bytearray(encode_image("PNG"))
    data[len(data) // 2] ^= 1
    with pytest.raises(ImageError):
        check_image(bytes(data))


def bomb(format: str) -> bytes:
    """Returns a few bytes that claim 60,000 x 60,000 pixels."""
    side = 60_000
    if format == "PNG":
        return b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">IIBB", side, side, 8, 2) + bytes(7)
    if format == "GIF":
        return b"GIF89a" + struct.pack("<HH", side, side) + bytes(9)
    if format == "BMP":
        return b"BM" + bytes(12) + struct.pack("<Iii", 40, side, -side) + bytes(40)
    if format == "WEBP":
        sides = (side - 1).to_bytes(3, "little") * 2
        return b"RIFF\x20\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00" + bytes(4) + sides
    frame = struct.pack(">HBHHB", 17, 8, side, side, 3) + bytes(9)
    return b"\xff\xd8\xff\xc0" + frame + b"\xff\xda\x00\x02"


@pytest.mark.parametrize("format", ["PNG", "GIF", "BMP", "WEBP", "JPEG"])
def test_image_file_bomb_is_refused_by_its_header(format: str) -> None:
    with pytest.raises(ImageError, match="60000x60000") as caught:
        check_image(bomb(format))
    assert caught.value.code == "image_too_large"
    with pytest.raises(ImageError, match="60000x60000"):
        decode_image(bomb(format))


def test_image_file_limit_can_be_moved(encode_image) -> None:
    assert check_image(encode_image(), max_pixels=48 * 64).width == 64
    with pytest.raises(ImageError, match="64x48 pixels, where at most 3,071"):
        check_image(encode_image(), max_pixels=48 * 64 - 1)


@pytest.mark.parametrize("length", [*range(2, 40, 3), 160, 620])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP"])
def test_image_file_truncated_files_raise_image_error(encode_image, format: str, length: int) -> None:
    data = encode_image(format, size=(200, 200))
    with pytest.raises(ImageError):
        check_image(data[: min(length, len(data) // 2)])


def test_image_file_damaged_bytes_raise_image_error(encode_image) -> None:
    rng = np.random.default_rng(0)
    usable = 0
    for format in ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP"):
        data = encode_image(format)
        for _ in range(60):
            broken = bytearray(data)
            for position in rng.integers(0, len(data), rng.integers(1, 6)):
                broken[position] = rng.integers(0, 256)
            try:
                checked = check_image(bytes(broken), max_pixels=1_000_000)
            except ImageError:
                continue
            usable += 1
            assert checked.height * checked.width <= 1_000_000
    assert 0 < usable < 360


def test_image_file_twelve_bit_jpeg_is_named() -> None:
    frame = struct.pack(">HBHHB", 17, 12, 8, 8, 3) + bytes(9)
    with pytest.raises(ImageError, match="12 bits"):
        check_image(b"\xff\xd8\xff\xc1" + frame + b"\xff\xda\x00\x02")


def test_image_file_path_is_read(encode_image, tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(encode_image("GIF"))
    assert decode_image(tmp_path / "a.gif").shape == (48, 64, 3)


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_image_file_trusted_images_are_not_decoded_but_measured(
    encode_image, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    data = encode_image(format)
    monkeypatch.setattr(image_file, "_load", None)
    trusted = check_image(data, is_trusted=True)
    assert trusted.encoded is data
    assert (trusted.format, trusted.height, trusted.width, trusted.image_hash) == (format.lower(), 48, 64, None)
    with pytest.raises(ImageError, match="at most 100"):
        check_image(data, is_trusted=True, max_pixels=100)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(lambda encode_image: encode_image(mode="CMYK"), id="cmyk"),
        pytest.param(lambda encode_image: encode_image(orientation=6), id="turned jpeg"),
        pytest.param(lambda encode_image: encode_image("PNG", orientation=6), id="turned png"),
        pytest.param(lambda encode_image: encode_image("PNG", mode="RGBA"), id="alpha"),
        pytest.param(lambda encode_image: saved(Image.new("P", (9, 9)), "PNG", transparency=0), id="palette"),
        pytest.param(lambda encode_image: encode_image("GIF"), id="gif"),
    ],
)
def test_image_file_what_must_be_changed_is_not_trusted(encode_image, data) -> None:
    assert check_image(data(encode_image), is_trusted=True) == check_image(data(encode_image))


def test_image_file_trusted_image_without_an_end_is_looked_at(encode_image) -> None:
    for format in ("JPEG", "PNG"):
        with pytest.raises(ImageError, match="truncated"):
            check_image(encode_image(format, size=(300, 300))[:-40], is_trusted=True)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_image_file_oversize_image_is_made_smaller_and_keeps_its_shape(
    encode_image, format: str, orientation: int
) -> None:
    data = encode_image(format, size=(150, 400), orientation=orientation)
    small = check_image(data, longest_side=100)
    size, given = ((38, 100), (150, 400)) if orientation == 1 else ((100, 38), (400, 150))
    assert ((small.height, small.width), small.given_size, small.stored_size) == (size, given, (150, 400))
    assert small.upright_size == given
    assert tensorflow_sees(small.encoded).shape == (*size, 3)
    whole = Image.fromarray(decode_image(data)).resize(size[::-1], Image.Resampling.LANCZOS)
    assert np.abs(decode_image(small.encoded).astype(int) - np.asarray(whole)).mean() < 6


def test_image_file_image_that_fits_is_not_touched_by_a_limit(encode_image) -> None:
    data = encode_image(size=(48, 64))
    assert check_image(data, longest_side=64).encoded is data
    assert check_image(data, longest_side=64).given_size is None


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_image_file_upright_size_is_known_without_decoding(encode_image, format: str, orientation: int) -> None:
    if orientation == 6 and format in ("GIF", "BMP"):
        pytest.skip("these formats hold no EXIF")
    data = encode_image(format, orientation=orientation)
    assert upright_size(data) == decode_image(data).shape[:2]


def test_image_file_reduced_decoding_finds_the_faults_of_full_decoding() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (120, 150, 3), dtype=np.uint8)
    rng, verdicts = np.random.default_rng(2), set()
    for options in ({}, {"progressive": True}, {"restart_marker_blocks": 4}):
        data = saved(Image.fromarray(noise), "JPEG", **options)
        for _ in range(40):
            broken = bytearray(data[: rng.integers(600, len(data) + 1)])
            for position in rng.integers(600, max(601, len(broken)), 4):
                broken[min(position, len(broken) - 1)] = rng.integers(0, 256)
            found = [_is_refused(look, bytes(broken)) for look in (check_image, decode_image)]
            assert found[0] == found[1]
            verdicts.add(found[0])
    assert verdicts == {True, False}


def _is_refused(look, data: bytes) -> bool:
    try:
        look(data)
    except ImageError:
        return True
    return False

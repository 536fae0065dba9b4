"""Search of images, their pixels, and output paths."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.inference.image_io import find_images, output_names, read_image, write_image

RED, GREEN = (200, 30, 40), (30, 180, 60)


def two_colors() -> np.ndarray:
    """Returns 20 x 30 pixels, red on the left and green on the right."""
    image = np.empty((20, 30, 3), np.uint8)
    image[:, :15], image[:, 15:] = RED, GREEN
    return image


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name in ("b.JPG", "a.png", "inner/c.jpg", "odd[1].jpg"):
        write_image(folder / name.replace("JPG", "jpg"), two_colors())
    (folder / "b.jpg").rename(folder / "b.JPG")
    (folder / "a.xml").write_text("<annotation/>")
    (folder / ".hidden.jpg").write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.png", ["a.png"]),
        ("a.xml", ["a.xml"]),
        ("odd[1].jpg", ["odd[1].jpg"]),
        ("", ["a.png", "b.JPG", "odd[1].jpg"]),
        ("*", ["a.png", "b.JPG", "odd[1].jpg"]),
        ("*.xml", ["a.xml"]),
        ("**/*.jpg", ["inner/c.jpg", "odd[1].jpg"]),
    ],
)
def test_image_io_path_a_folder_and_a_glob(photos: Path, pattern: str, names: list[str]) -> None:
    assert find_images(photos / pattern) == [photos / name for name in names]


def test_image_io_wrong_name_is_answered_with_similar_ones(photos: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no file or folder .*a\.pgn .*Similar names: .*a\.png"):
        find_images(photos / "a.pgn")
    with pytest.raises(FileNotFoundError, match=r"No file matches .*\*\.webp"):
        find_images(photos / "*.webp")
    with pytest.raises(FileNotFoundError, match="There is no file or folder"):
        find_images(photos / "nowhere" / "a.png")


def test_image_io_names_that_no_text_file_can_hold_are_left_out(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"\xff.jpg")
    for path in (odd, tmp_path / "b.jpg"):
        path.write_bytes(b"image")
    assert find_images(tmp_path / "*.jpg") == [tmp_path / "b.jpg"]
    with pytest.raises(DataError, match=r"\\xff\.jpg: its name is not UTF-8, as files of results need; rename it"):
        find_images(odd)


def test_image_io_folder_without_images_is_named(photos: Path) -> None:
    empty = photos / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"The folder .*empty must contain images"):
        find_images(empty)


@pytest.mark.parametrize("name", ["photo.png", "photo.bmp", "photo.TIF", "photo.webp", "photo.jpg"])
def test_image_io_pixels_come_back_in_rgb(tmp_path: Path, name: str) -> None:
    write_image(tmp_path / name, two_colors())
    image = read_image(tmp_path / name)
    assert (image.shape, image.dtype) == ((20, 30, 3), np.uint8)
    np.testing.assert_allclose(image[:, [5, 25]].mean(axis=0), [RED, GREEN], atol=6)
    assert list(tmp_path.iterdir()) == [tmp_path / name]


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.full((4, 5), 100, np.uint8), (100, 100, 100)),
        (np.full((4, 5), 100 * 256, np.uint16), (100, 100, 100)),
        (np.full((4, 5, 4), (40, 30, 200, 255), np.uint8), (200, 30, 40)),
        (np.full((4, 5, 4), (40, 30, 200, 0), np.uint8), (255, 255, 255)),
        (np.full((4, 5, 4), (40 * 256, 30 * 256, 200 * 256, 65535), np.uint16), (200, 30, 40)),
    ],
    ids=["grey", "16-bit grey", "opaque", "transparent shows white, as in training", "16-bit alpha"],
)
def test_image_io_every_kind_of_pixel_becomes_rgb(
    tmp_path: Path, pixels: np.ndarray, expected: tuple[int, ...]
) -> None:
    # The suffix is wrong: the content determines the format.
    path = tmp_path / "photo.jpg"
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    np.testing.assert_array_equal(read_image(path), np.broadcast_to(expected, (4, 5, 3)).astype(np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_image_io_cameras_rotation_is_carried_out_once(tmp_path: Path, orientation: int) -> None:
    upright = two_colors()
    turned = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    content = cv2.imencode(".jpg", np.ascontiguousarray(turned[..., ::-1]))[1].tobytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0" + bytes([orientation]) + b"\0\0\0\0\0\0"
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    path = tmp_path / "photo.jpg"
    path.write_bytes(content[:2] + segment + content[2:])

    image = read_image(path)

    assert image.shape == (20, 30, 3)
    np.testing.assert_allclose(image[:, [5, 25]].mean(axis=0), [RED, GREEN], atol=6)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"\x89PNG\r\n\x1a\n" + b"\0" * 30])
def test_image_io_file_that_is_no_image_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"photo\.jpg: "):
        read_image(path)


def test_image_io_real_images_that_break_decoders(test_data: Path) -> None:
    folder = test_data / "nasty"
    assert read_image(folder / "exif_landscape_6.jpg").shape == (1200, 1800, 3)
    assert read_image(folder / "exif_portrait_8.jpg").shape == (1800, 1200, 3)
    upright = read_image(folder / "pillow_exif_orientation6.jpg").astype(float)
    assert np.abs(read_image(folder / "pillow_exif_orientation6.webp") - upright).mean() < 6
    assert read_image(folder / "pillow_bad_exif_gray.jpg").shape == (500, 500, 3)
    flower = read_image(folder / "pillow_flower.jpg").astype(float)
    assert np.abs(read_image(folder / "gen_flower_cmyk.jpg") - flower).mean() < 3
    for name in ("gen_flower_truncated_baseline.jpg", "pillow_truncated.png", "pillow_bomb_4.3Gpx.gif"):
        with pytest.raises(DataError, match=name):
            read_image(folder / name)


def test_image_io_results_keep_the_names_of_the_images() -> None:
    images = [Path(name) for name in ("x/a.jpg", "x/a.png", "y/a.jpg", "z/A.JPG", "x/clip.gif", "x/clip.mp4#t=1")]
    assert output_names(images) == ["a.jpg", "a.png", "a-2.jpg", "A-3.JPG", "clip.png", "clip.mp4#t=1.png"]

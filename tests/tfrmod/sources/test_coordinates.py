from pathlib import Path

import pytest

from tfrmod.errors import DatasetError
from tfrmod.sources.coordinates import canvas_size

INSIDE, OUTSIDE = [(1.0, 2.0, 30.0, 40.0)], [(1.0, 2.0, 80.0, 120.0)]


@pytest.mark.parametrize(
    ("stated", "boxes", "expected"),
    [
        ((48, 64), INSIDE, (48, 64)),
        ((0, 0), INSIDE, (48, 64)),
        ((49, 63), INSIDE, (48, 64)),
        ((13377, 13377), INSIDE, (48, 64)),
        ((96, 128), INSIDE, (48, 64)),
        ((96, 128), OUTSIDE, (96, 128)),
    ],
)
def test_coordinates_masks_are_drawn_at_the_images_size_unless_its_boxes_are_on_another(
    tmp_path: Path, encode_image, stated, boxes, expected
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encode_image(size=(48, 64)))
    assert canvas_size(path, stated, boxes) == expected


def test_coordinates_turned_image_is_drawn_on_as_it_is_stated(tmp_path: Path, encode_image) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encode_image(size=(48, 64), orientation=6))
    assert canvas_size(path, (48, 64), INSIDE) == (48, 64)
    assert canvas_size(path, (64, 48), INSIDE) == (64, 48)
    assert canvas_size(path, (0, 0), INSIDE) == (64, 48)


def test_coordinates_huge_size_is_refused_and_an_image_that_cannot_be_read_has_none(
    tmp_path: Path, encode_image
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encode_image(size=(48, 64)))
    with pytest.raises(DatasetError, match="masks for 6400x4800 pixels, and the image has 64x48"):
        canvas_size(path, (4800, 6400), OUTSIDE)
    path.write_bytes(b"nothing")
    assert canvas_size(path, (48, 64), INSIDE) == (0, 0)

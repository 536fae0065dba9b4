import io

import numpy as np
import pytest
from PIL import Image

from tfrmod import masks
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject
from tfrmod.errors import DatasetError
from tfrmod.exif import TURNS, swaps_sides, upright, upright_box

HEIGHT, WIDTH = 40, 60
BOX = (5, 10, 15, 40)


def block() -> np.ndarray:
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[BOX[0] : BOX[2], BOX[1] : BOX[3]] = 1
    return values


def image(values: np.ndarray) -> AnnotatedImage:
    thing = AnnotatedObject("cat", BOX, mask=masks.array_png(values))
    return AnnotatedImage(filename="a.jpg", objects=(thing, thing._replace(mask=b"")), segmentation=thing.mask)


@pytest.mark.parametrize("turn", [1, *TURNS])
def test_mask_turns_with_its_picture_and_its_box(turn: int) -> None:
    size = (WIDTH, HEIGHT) if swaps_sides(turn) else (HEIGHT, WIDTH)
    placed = masks.placed(image(block()), turn=turn, stored_size=(HEIGHT, WIDTH), size=size)
    values = masks.png_array(placed.objects[0].mask)
    np.testing.assert_array_equal(values, np.asarray(upright(Image.fromarray(block()), turn)))
    y0, x0, y1, x1 = map(int, upright_box(BOX, turn, height=HEIGHT, width=WIDTH))
    assert values[y0:y1, x0:x1].all()
    assert values.sum() == (y1 - y0) * (x1 - x0)
    assert placed.segmentation == placed.objects[0].mask
    assert placed.objects[1].mask == b""


def test_mask_that_fits_is_handed_on_untouched() -> None:
    given = image(block())
    placed = masks.placed(given, turn=1, stored_size=(HEIGHT, WIDTH), size=(HEIGHT, WIDTH))
    assert placed.objects[0].mask is given.objects[0].mask


def test_mask_shrinks_with_its_picture() -> None:
    placed = masks.placed(image(block()), turn=1, stored_size=(HEIGHT, WIDTH), size=(HEIGHT // 2, WIDTH // 2))
    values = masks.png_array(placed.objects[0].mask)
    assert values.shape == (HEIGHT // 2, WIDTH // 2)
    assert set(np.unique(values)) == {0, 1}
    assert values.sum() == pytest.approx(block().sum() / 4, rel=0.1)


def test_mask_of_another_size_is_cut_and_continued_not_stretched() -> None:
    placed = masks.placed(image(block()), turn=1, stored_size=(12, 100), size=(12, 100))
    values = masks.png_array(placed.objects[0].mask)
    assert values.shape == (12, 100)
    np.testing.assert_array_equal(values[:, :WIDTH], block()[:12])
    assert not values[:, WIDTH:].any()


def test_mask_of_classes_is_not_continued_with_background() -> None:
    placed = masks.placed(image(block()), turn=1, stored_size=(12, 100), size=(12, 100))
    values = masks.png_array(placed.segmentation)
    np.testing.assert_array_equal(values[:, :WIDTH], block()[:12])
    assert (values[:, WIDTH:] == masks.IGNORED).all()


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((40, 60), (40, 60), (40, 60)),
        ((40, 60), (60, 40), (40, 60)),  # As the pixels are stored, the image being turned.
        ((40, 60), (0, 0), (40, 60)),
        ((40, 60), (80, 120), (80, 120)),
        ((40, 60), (20, 30), (20, 30)),
        ((40, 60), (120, 80), (80, 120)),
        ((333, 500), (1000, 1500), (1000, 1500)),
        ((334, 500), (1000, 1500), (1000, 1500)),
        ((1000, 1500), (333, 500), (333, 500)),
        ((330, 500), (1000, 1500), None),
        ((41, 60), (80, 160), None),
        ((512, 512), (1000, 1500), None),
    ],
)
def test_mask_fits_a_image_of_its_proportions(shape, size, expected) -> None:
    values = np.arange(shape[0] * shape[1], dtype=np.uint32).reshape(shape)
    if expected is None:
        with pytest.raises(DatasetError, match=rf"{shape[1]}x{shape[0]} pixels on an image of {size[1]}x{size[0]}"):
            masks.fitted(values, size)
    else:
        fitted = masks.fitted(values, size)
        assert fitted.shape == expected
        assert set(np.unique(fitted)) <= set(np.unique(values))


def test_mask_grows_pixel_by_pixel() -> None:
    values = np.arange(6, dtype=np.uint8).reshape(2, 3)
    np.testing.assert_array_equal(masks.fitted(values, (4, 6)), values.repeat(2, 0).repeat(2, 1))


def test_masks_outline_far_outside_costs_nothing_and_covers_what_it_covers() -> None:
    png = masks.polygons_png([[-1e12, -1e12, 1e12, -1e12, 1e12, 1e12, -1e12, 1e12]], HEIGHT, WIDTH)
    assert masks.png_array(png).all()


@pytest.mark.parametrize(("height", "width"), [(0, 5), (5, -1), (10**6, 10**6)])
def test_masks_impossible_sizes_are_refused(height: int, width: int) -> None:
    with pytest.raises(DatasetError, match="a mask of"):
        masks.polygons_png([[0, 0, 1, 0, 1, 1]], height, width)
    with pytest.raises(DatasetError, match="a mask of"):
        masks.rle_png([1], height, width)


@pytest.mark.parametrize(
    ("mode", "expected"), [("1", 1), ("L", 7), ("P", 7), ("I;16", 700), ("RGB", 7), ("RGBA", 7), ("LA", 7)]
)
def test_masks_pictures_of_any_mode_give_their_values(mode: str, expected: int) -> None:
    color = {"RGB": (7,) * 3, "RGBA": (7, 7, 7, 255), "LA": (7, 255)}.get(mode, expected)
    out = io.BytesIO()
    picture = Image.new(mode, (4, 3), color)
    if mode == "P":
        picture.putpalette([value for color in range(256) for value in (255 - color, color, 9)])
    picture.save(out, "PNG")
    values = masks.png_array(out.getvalue())
    assert values.shape == (3, 4)
    assert (values == expected).all()


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_masks_what_is_no_mask_is_refused(data: bytes) -> None:
    with pytest.raises(DatasetError, match="a mask must be a PNG"):
        masks.png_array(data)


def test_masks_bomb_is_not_unpacked(test_data) -> None:
    with pytest.raises(DatasetError, match="256000000 pixels"):
        masks.png_array((test_data / "nasty" / "gen_256Mpx_1bit.png").read_bytes())

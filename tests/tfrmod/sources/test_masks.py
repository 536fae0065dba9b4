import io

import numpy as np
import pytest
from PIL import Image

from tfrmod.errors import DatasetError
from tfrmod.masks import png_array
from tfrmod.sources import find_source


def classes(**values: int) -> np.ndarray:
    """Returns a mask of 48x64 with a square of 10x10 for each value."""
    mask = np.zeros((48, 64), np.uint8)
    for index, value in enumerate(values.values()):
        mask[5:15, 15 * index : 15 * index + 10] = value
    return mask


def palette_png(values: np.ndarray) -> bytes:
    image = Image.new("P", values.shape[::-1])
    image.putdata(values.ravel().tolist())
    image.putpalette([value for color in range(256) for value in (color, 255 - color, 7)])
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def color_png(values: np.ndarray, colors: dict[int, tuple[int, int, int]]) -> bytes:
    picture = np.zeros((*values.shape, 3), np.uint8)
    for value, color in colors.items():
        picture[values == value] = color
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("image_path", "mask_path"),
    [
        ("images/a.jpg", "masks/a.png"),
        ("train/images/a.jpg", "train/masks/a.png"),
        ("JPEGImages/a.jpg", "SegmentationClass/a.png"),
        ("a.jpg", "a_mask.png"),
        ("imgs/a.png", "labels/a.png"),
        ("x/a.jpg", "train_masks/a_mask.png"),
    ],
)
def test_masks_are_found_and_kept_as_they_are(put, read_all, encode_image, image_path: str, mask_path: str) -> None:
    mask = classes(cat=1, dog=2, edge=255)
    encoded_image = encode_image("PNG") if image_path.endswith("png") else None
    folder = put({image_path: encoded_image, mask_path: mask, "classes.txt": "background\ncat\ndog\n"})
    assert find_source(folder) == "masks"
    listing, images, problems = read_all("masks", folder, masks=True)
    assert problems == []
    assert listing.label_map == {1: "cat", 2: "dog"}
    np.testing.assert_array_equal(png_array(images[image_path].segmentation), mask)
    assert (images[image_path].objects, images[image_path].height) == ((), 48)
    _, images, _ = read_all("masks", folder)
    assert images[image_path].segmentation == b""


def test_masks_palettes_are_positions_not_colours(put, read_all) -> None:
    mask = classes(cat=1, dog=2, edge=255)
    _, images, _ = read_all("masks", put({"images/a.jpg": None, "masks/a.png": palette_png(mask)}), masks=True)
    np.testing.assert_array_equal(png_array(images["images/a.jpg"].segmentation), mask)


def test_masks_black_and_white_is_one_class(put, read_all) -> None:
    listing, images, _ = read_all("masks", put({"images/a.jpg": None, "masks/a.png": classes(cat=255)}), masks=True)
    assert listing.label_map == {1: "object"}
    np.testing.assert_array_equal(png_array(images["images/a.jpg"].segmentation), classes(cat=1))


@pytest.mark.parametrize(
    ("papers", "expected"),
    [
        ({}, {1: "1", 2: "2"}),
        ({"classes.txt": "cat\ndog"}, {1: "cat", 2: "dog"}),
        ({"labels.txt": "__ignore__\n_background_\n"}, {1: "1", 2: "2"}),
        ({"train/_classes.csv": "Pixel Value, Class\n0, background\n1, cat\n2, dog\n"}, {1: "cat", 2: "dog"}),
    ],
)
def test_masks_names_come_from_class_lists(put, read_all, papers, expected) -> None:
    listing, _, _ = read_all("masks", put({"images/a.jpg": None, "masks/a.png": classes(cat=1, dog=2)} | papers))
    assert listing.label_map == expected


def test_masks_colours_need_a_list(put, read_all) -> None:
    picture = color_png(classes(cat=1, dog=2), {1: (200, 10, 10), 2: (10, 200, 10)})
    files = {"images/a.jpg": None, "masks/a.png": picture}
    _, images, problems = read_all("masks", put(files), masks=True)
    assert images == {}
    assert problems[0].code == "annotation_malformed"
    assert "color mask with (10, 200, 10)" in problems[0].message
    labels = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:200,10,10::\ndog:10,200,10::\n"
    listing, images, problems = read_all("masks", put({"labelmap.txt": labels}), masks=True)
    assert (listing.label_map, problems) == ({1: "cat", 2: "dog"}, [])
    np.testing.assert_array_equal(png_array(images["images/a.jpg"].segmentation), classes(cat=1, dog=2))


def test_masks_objects_have_boxes_and_masks(put, read_all, names_and_boxes) -> None:
    things, kinds = classes(one=1, two=2, edge=255), classes(one=2, two=1, edge=255)
    folder = put(
        {
            "JPEGImages/a.jpg": None,
            "SegmentationObject/a.png": palette_png(things),
            "SegmentationClass/a.png": palette_png(kinds),
            "classes.txt": "background\ncat\ndog",
            "ImageSets/Segmentation/train.txt": "a\n",
        }
    )
    _, images, problems = read_all("masks", folder, masks=True)
    assert problems == []
    image = images["JPEGImages/a.jpg"]
    assert names_and_boxes(image) == [("dog", (5, 0, 15, 10)), ("cat", (5, 15, 15, 25))]
    assert image.objects[0].area == 100
    np.testing.assert_array_equal(png_array(image.objects[1].mask), things == 2)


@pytest.mark.parametrize(
    ("image_path", "folder_of_masks"), [("images/a.jpg", "masks/a"), ("a/images/a.jpg", "a/masks")]
)
def test_masks_one_image_per_object(put, read_all, names_and_boxes, image_path: str, folder_of_masks: str) -> None:
    one, two = classes(x=255), classes(x=0, y=255)
    folder = put({image_path: None, f"{folder_of_masks}/k1.png": one, f"{folder_of_masks}/k2.png": two})
    _, images, problems = read_all("masks", folder)
    assert problems == []
    assert names_and_boxes(images[image_path]) == [("object", (5, 0, 15, 10)), ("object", (5, 15, 15, 25))]


def test_masks_sixteen_bits_number_many_objects(put, read_all) -> None:
    things = np.zeros((48, 64), np.uint16)
    things[:, :10], things[:, 20:30] = 300, 70
    folder = put({"images/a.jpg": None, "instances/a.png": things})
    _, images, _ = read_all("masks", folder)
    assert [thing.box for thing in images["images/a.jpg"].objects] == [(0, 20, 48, 30), (0, 0, 48, 10)]


def test_masks_lists_divide(put, read_all) -> None:
    files = {f"images/{stem}.jpg": None for stem in "abc"} | {f"masks/{stem}.png": classes(cat=1) for stem in "abc"}
    listing, _, _ = read_all("masks", put(files | {"splits/train.txt": "a\nc\n", "splits/val.txt": "b\nx\n"}))
    assert listing.sets == {"train": (0, 2), "val": (1,)}
    assert [problem.message for problem in listing.set_problems["val"]] == ["x"]


def test_masks_what_belongs_to_nothing_is_named(put, read_all) -> None:
    mask = classes(cat=1)
    folder = put({"images/a.jpg": None, "images/b.jpg": None, "masks/a.png": mask, "masks/c.png": mask})
    _, _, problems = read_all("masks", folder, masks=True)
    assert [(problem.code, problem.file) for problem in problems] == [
        ("annotation_without_image", "masks/c.png"),
        ("image_without_annotation", "images/b.jpg"),
    ]


@pytest.mark.parametrize("content", [b"no image", np.full((48, 64), 300, np.uint16)])
def test_mask_that_cannot_be_read_is_named(put, read_all, content) -> None:
    folder = put({"images/a.jpg": None, "masks/a.png": content, "images/b.jpg": None, "masks/b.png": classes(cat=1)})
    _, images, problems = read_all("masks", folder, masks=True)
    assert list(images) == ["images/b.jpg"]
    assert [(problem.code, problem.file) for problem in problems] == [("annotation_malformed", "masks/a.png")]


def test_masks_of_a_smaller_copy_are_resized_with_their_boxes(put, read_all) -> None:
    mask = classes(cat=1, dog=2)
    content = {"images/a.jpg": None, "masks/a.png": mask[::2, ::2], "instances/a.png": mask[::2, ::2]}
    _, images, problems = read_all("masks", put(content), masks=True)
    image = images["images/a.jpg"]
    assert problems == []
    assert (image.height, image.width) == (48, 64)
    assert png_array(image.segmentation).shape == (48, 64)
    assert [thing.box for thing in image.objects] == [(6, 0, 16, 10), (6, 16, 16, 26)]


def test_mask_of_other_proportions_is_named(put, read_all) -> None:
    fine = {"images/b.jpg": None, "masks/b.png": classes(cat=1)}
    content = {"images/a.jpg": None, "masks/a.png": classes(cat=1)[:, :48], **fine}
    _, images, problems = read_all("masks", put(content), masks=True)
    assert list(images) == ["images/b.jpg"]
    assert [(problem.code, problem.file) for problem in problems] == [("annotation_malformed", "masks/a.png")]
    assert "48x48 pixels on an image of 64x48" in problems[0].message


def test_masks_images_without_masks_are_refused(put, read_all) -> None:
    with pytest.raises(DatasetError, match="none of which belong together"):
        read_all("masks", put({"images/a.jpg": None}))


@pytest.mark.parametrize(
    ("papers", "words"),
    [
        ({"classes.txt": "汽车\n行人\n自行车\n".encode("gbk")}, r"classes\.txt cannot be used: it is not UTF-8"),
        ({"classes.txt": "cat\n\ndog\n"}, r"classes\.txt cannot be used: line 2 is blank"),
        (
            {"train/_classes.csv": "Pixel Value, Class\n1, cat\n2, dog\n", "valid/_classes.csv": "1, dog\n2, cat\n"},
            r"disagree, train/_classes\.csv and valid/_classes\.csv: class 1 is 'cat' and 'dog'",
        ),
    ],
)
def test_masks_list_that_cannot_be_followed_for_sure_is_refused(put, read_all, papers, words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        read_all("masks", put({"images/a.jpg": None, "masks/a.png": classes(cat=1, dog=2)} | papers))


def test_masks_guessed_encoding_is_stated(put, read_all) -> None:
    files = {
        "images/a.jpg": None,
        "masks/a.png": classes(cat=1, dog=2),
        "classes.txt": "größer\nklein".encode("cp1252"),
    }
    listing, _, problems = read_all("masks", put(files), masks=True)
    assert listing.label_map == {1: "größer", 2: "klein"}
    assert [(problem.code, problem.file) for problem in problems] == [("encoding_guessed", "classes.txt")]


def test_masks_with_equal_names_go_by_their_folders(put, read_all) -> None:
    masks = {"camA": classes(cat=1), "camB": classes(dog=2)}
    files = {f"images/{camera}/0.jpg": None for camera in masks}
    _, images, problems = read_all(
        "masks", put(files | {f"masks/{c}/0.png": mask for c, mask in masks.items()}), masks=True
    )
    assert problems == []
    for camera, mask in masks.items():
        np.testing.assert_array_equal(png_array(images[f"images/{camera}/0.jpg"].segmentation), mask)


def test_masks_capitals_tell_images_apart(put, read_all) -> None:
    masks = {"IMG_0": classes(cat=1), "img_0": classes(dog=2)}
    files = {f"images/{name}.jpg": None for name in masks} | {f"masks/{name}.png": mask for name, mask in masks.items()}
    _, images, problems = read_all("masks", put(files), masks=True)
    assert problems == []
    for name, mask in masks.items():
        np.testing.assert_array_equal(png_array(images[f"images/{name}.jpg"].segmentation), mask)


@pytest.mark.parametrize(
    "others",
    [
        {"rgb/0.jpg": None, "infrared/0.jpg": None, "masks/0.png": classes(cat=1)},
        {"images/0.jpg": None, "masks/0.png": classes(cat=1), "old masks/0.png": classes(dog=2)},
    ],
)
def test_masks_in_doubt_are_left_out_and_named(put, read_all, others) -> None:
    _, images, problems = read_all(
        "masks", put({"images/a.jpg": None, "masks/a.png": classes(cat=1)} | others), masks=True
    )
    assert list(images) == ["images/a.jpg"]
    assert "image_ambiguous" in {problem.code for problem in problems}
    assert {name for name in others if name.endswith(".jpg")} <= {problem.file for problem in problems}

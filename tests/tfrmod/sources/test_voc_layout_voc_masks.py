import numpy as np

from tfrmod.masks import array_png, png_array

THINGS = (("cat", 5, 5, 31, 31), ("dog", 40, 5, 60, 45))


def picture() -> np.ndarray:
    """Returns a mask of both things and of a third, ringed by what does not count."""
    values = np.zeros((48, 64), np.uint8)
    values[4:31, 4:31] = 255
    values[6:30, 6:30] = 2
    values[5:45, 40:60] = 1
    values[40:44, 2:9] = 3
    return values


def test_voc_layout_voc_masks_things_get_the_masks_under_their_boxes(voc_folder, read_all) -> None:
    voc_folder.add("a", THINGS)
    voc_folder.add("b", THINGS)
    voc_folder.write("SegmentationObject/a.png", array_png(picture()))
    voc_folder.write("SegmentationClass/a.png", array_png(picture()))
    _, images, problems = read_all("voc", voc_folder.root, masks=True)
    assert problems == []
    cat, dog = images["JPEGImages/a.jpg"].objects
    np.testing.assert_array_equal(png_array(cat.mask), picture() == 2)
    np.testing.assert_array_equal(png_array(dog.mask), picture() == 1)
    assert (cat.name, cat.area, cat.box) == ("cat", 24 * 24, (5, 5, 31, 31))
    assert [thing.mask for thing in images["JPEGImages/b.jpg"].objects] == [b"", b""]
    _, images, _ = read_all("voc", voc_folder.root)
    assert images["JPEGImages/a.jpg"].objects[0].mask == b""


def test_voc_layout_voc_masks_broken_picture_is_named_and_the_boxes_stay(voc_folder, read_all) -> None:
    voc_folder.add("a", THINGS)
    voc_folder.write("SegmentationObject/a.png", b"no image")
    _, images, problems = read_all("voc", voc_folder.root, masks=True)
    assert [(problem.code, problem.file) for problem in problems] == [("mask_unreadable", "SegmentationObject/a.png")]
    assert len(images["JPEGImages/a.jpg"].objects) == 2


def test_voc_layout_voc_masks_of_two_pictures_that_fit_equally_well_none_is_taken(voc_folder, read_all) -> None:
    voc_folder.add("a", THINGS)
    for folder in ("x", "y"):
        voc_folder.write(f"{folder}/SegmentationObject/a.png", array_png(picture()))
    _, images, problems = read_all("voc", voc_folder.root, masks=True)
    assert [(problem.code, problem.file) for problem in problems] == [("mask_unreadable", "JPEGImages/a.jpg")]
    assert [thing.mask for thing in images["JPEGImages/a.jpg"].objects] == [b"", b""]


def test_voc_layout_voc_masks_of_two_years_the_nearer_picture_is_meant(voc_in, tmp_path, read_all) -> None:
    for year in ("2007", "2012"):
        data = voc_in(tmp_path / "data", f"VOC{year}/JPEGImages", f"VOC{year}/Annotations")
        data.add("a", [("cat", 0, 0, 64, 48)])
        data.write(f"VOC{year}/SegmentationObject/a.png", array_png(np.full((48, 64), int(year) % 100, np.uint8)))
    listing, _, _ = read_all("voc", tmp_path / "data", masks=True)
    assert [entry.detail.decode() for entry in listing.entries] == [
        "VOC2007/SegmentationObject/a.png",
        "VOC2012/SegmentationObject/a.png",
    ]

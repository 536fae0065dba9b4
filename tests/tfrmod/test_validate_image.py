import json
from pathlib import Path

import pytest

from tfrmod import validate_image as validate_image_module
from tfrmod.image_file import MAX_PIXELS, check_image
from tfrmod.sources import SOURCES, Entry
from tfrmod.validate_image import Settings, ValidatedImage, validate_image, validate_images

ENTRY = Entry("a.jpg", "a.xml")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "staging").mkdir()
    return Settings(tmp_path, "voc", tmp_path / "staging", MAX_PIXELS, None)


def outcome(settings: Settings, encode_image: bytes, xml: str) -> ValidatedImage:
    (settings.folder / "a.jpg").write_bytes(encode_image)
    (settings.folder / "a.xml").write_text(xml)
    return validate_image(settings, 4, ENTRY)


def codes(examined: ValidatedImage) -> list[str]:
    return [problem.code for problem in examined.problems]


def test_validate_image_fine_image_stays_where_it_is(settings: Settings, encode_image, xml) -> None:
    image, problems, image_hash, _ = outcome(settings, encode_image(), xml([("cat", 1, 2, 30, 40)]))
    assert problems == ()
    assert image_hash == check_image(encode_image()).image_hash
    assert image is not None
    assert (image.path, image.format, image.source_id) == (settings.folder / "a.jpg", "jpeg", "5")
    assert (image.height, image.width, image.objects[0].box) == (48, 64, (2, 1, 40, 30))
    assert image.loaded().encoded == encode_image()


def test_validate_image_encoded_anew_waits_in_the_staging_folder(settings: Settings, encode_image, xml) -> None:
    examined = outcome(settings, encode_image("BMP"), xml())
    assert codes(examined) == ["format_not_as_named"]
    assert examined.image is not None
    assert examined.image.path == settings.staging / "00000004.png"
    assert check_image(examined.image.loaded().encoded).content == "PNG"


@pytest.mark.parametrize(
    ("box", "kept", "found"),
    [
        ((0, 0, 64, 48), (0, 0, 48, 64), []),
        ((-5, 3, 70, 48), (3, 0, 48, 64), ["box_outside"]),
        ((30, 40, 1, 2), (2, 1, 40, 30), ["corners_swapped"]),
        ((5, 5, 5, 20), None, ["box_empty"]),
        ((70, 5, 90, 20), None, ["box_empty"]),
        ((0.5, 0.25, 10.75, 8.5), (0.25, 0.5, 8.5, 10.75), []),
    ],
)
def test_validate_image_boxes_are_sorted_clipped_or_dropped(
    settings: Settings, encode_image, xml, box, kept, found: list[str]
) -> None:
    examined = outcome(settings, encode_image(), xml([("cat", *box)]))
    assert examined.image is not None
    assert [thing.box for thing in examined.image.objects] == ([kept] if kept else [])
    assert codes(examined) == found


@pytest.mark.parametrize(
    ("things", "found", "is_kept"),
    [
        ([], [], True),
        ([("", 1, 2, 30, 40)], ["object_unreadable", "no_object_readable"], False),
        ([("cat", "nan", 2, 30, 40), ("", 1, 2, 3, 4)], ["object_unreadable"] * 2 + ["no_object_readable"], False),
        ([("", 1, 2, 30, 40), ("cat", 1, 2, 30, 40)], ["object_unreadable"], True),
        ([("", 1, 2, 30, 40), ("cat", 5, 5, 5, 20)], ["object_unreadable", "box_empty"], True),
    ],
)
def test_validate_image_whose_objects_are_all_unreadable_does_not_pass_for_one_of_nothing(
    settings: Settings, encode_image, xml, things: list, found: list[str], is_kept: bool
) -> None:
    examined = outcome(settings, encode_image(), xml(things))
    assert codes(examined) == found
    assert (examined.image is not None) == is_kept


@pytest.mark.parametrize(
    ("size", "orientation", "expected", "found"),
    [
        ((48, 64), 6, (2, 38, 12, 47), ["exif_turned"]),  # Stated as stored: drawn there, turned with it.
        ((64, 48), 6, (1, 2, 10, 12), []),  # Stated upright: drawn upright.
        (None, 6, (1, 2, 10, 12), ["exif_unclear"]),
        ((48, 64), 3, (1, 2, 10, 12), ["exif_unclear"]),  # Upside down has the same size.
        ((47, 65), 1, (1, 2, 10, 12), ["image_size_differs"]),  # Rounding.
        ((65, 47), 6, (1, 2, 10, 12), ["image_size_differs", "exif_unclear"]),
    ],
)
def test_validate_image_boxes_go_where_the_pixels_went(
    settings: Settings, encode_image, xml, size, orientation: int, expected, found
) -> None:
    examined = outcome(settings, encode_image(orientation=orientation), xml([("cat", 2, 1, 12, 10)], size=size))
    assert codes(examined) == found
    assert examined.image is not None
    assert examined.image.objects[0].box == expected


@pytest.mark.parametrize(
    ("size", "box", "expected", "found"),
    [
        ((96, 128), (20, 10, 120, 90), (5, 10, 45, 60), ["boxes_rescaled"]),  # They fit the stated size alone.
        ((24, 32), (20, 10, 60, 40), (10, 20, 40, 60), ["image_size_differs"]),  # They fit the image alone.
        ((96, 128), (2, 1, 12, 10), None, ["image_size_unclear"]),
        ((24, 32), (2, 1, 12, 10), None, ["image_size_unclear"]),
        ((99, 99), (2, 1, 12, 10), None, ["image_size_unclear"]),
        ((99, 99), (20, 10, 90, 90), None, ["image_size_unclear"]),  # Cut or squeezed?
        ((24, 32), (20, 10, 99, 90), None, ["image_size_unclear"]),  # They fit neither.
        ((64, 48), (20, 10, 60, 40), (10, 20, 40, 60), ["image_size_differs"]),  # Sides exchanged in the tag.
    ],
)
def test_validate_image_stated_size_that_the_image_has_not(
    settings: Settings, encode_image, xml, size, box, expected, found
) -> None:
    examined = outcome(settings, encode_image(), xml([("cat", *box)], size=size))
    assert codes(examined) == found
    assert (examined.image and examined.image.objects[0].box) == expected


def test_validate_image_stated_size_matters_not_where_nothing_is_marked(settings: Settings, encode_image, xml) -> None:
    examined = outcome(settings, encode_image(), xml(size=(99, 99)))
    assert (examined.image is not None, codes(examined)) == (True, ["image_size_differs"])


def test_validate_image_boxes_below_a_pixel_are_named(settings: Settings, encode_image, xml) -> None:
    examined = outcome(settings, encode_image(), xml([("cat", 10, 10, 10.5, 30)]))
    assert codes(examined) == ["box_below_pixel"]


def test_validate_image_unusable_image_is_left_out_with_the_reason(settings: Settings, encode_image, xml) -> None:
    examined = outcome(settings, encode_image()[:200], xml())
    assert (examined.image, codes(examined)) == (None, ["image_undecodable"])
    (settings.folder / "a.jpg").unlink()
    assert codes(validate_image(settings, 0, ENTRY)) == ["image_undecodable"]
    assert codes(outcome(settings._replace(max_pixels=100), encode_image(), xml())) == ["image_too_large"]
    assert codes(outcome(settings, encode_image(), "<annotation>")) == ["annotation_malformed"]


def test_validate_image_classes_outside_the_label_map_are_dropped(settings: Settings, encode_image, xml) -> None:
    settings = settings._replace(class_names={"cat"})
    examined = outcome(settings, encode_image(), xml([("cat", 1, 1, 9, 9), ("dog", 1, 1, 9, 9)]))
    assert examined.image is not None
    assert [thing.name for thing in examined.image.objects] == ["cat"]
    assert codes(examined) == ["class_not_in_label_map"]


def test_validate_image_numbers_go_on_through_a_chunk(settings: Settings, encode_image, xml) -> None:
    outcome(settings, encode_image(), xml())
    ids = [examined.image.source_id for examined in validate_images(settings, 32, [ENTRY, ENTRY]) if examined.image]
    assert ids == ["33", "34"]


def test_validate_image_names_that_stand_for_a_class_are_replaced_before_they_are_judged(
    settings: Settings, encode_image, xml
) -> None:
    settings = settings._replace(class_names={"RBC"}, aliases={"rbc": "RBC", "redcell": "RBC", "dog": "hound"})
    things = [("rbc", 1, 1, 9, 9), ("RBC", 1, 1, 9, 9), ("dog", 1, 1, 9, 9)]
    image, problems, _, aliased = outcome(settings, encode_image(), xml(things))
    assert image is not None
    assert [thing.name for thing in image.objects] == ["RBC", "RBC"]
    assert [(problem.code, problem.message) for problem in problems] == [("class_not_in_label_map", "hound")]
    assert aliased == ("dog", "rbc")


def test_validate_image_difficult_objects_are_left_out_where_asked(settings: Settings, encode_image, xml) -> None:
    text = xml([("cat", 1, 1, 9, 9), ("dog", 1, 1, 9, 9)]).replace("<name>dog", "<difficult>1</difficult><name>dog")
    examined = outcome(settings._replace(skip_difficult=True), encode_image(), text)
    assert examined.image is not None
    assert [thing.name for thing in examined.image.objects] == ["cat"]
    assert codes(examined) == ["difficult_left_out"]


@pytest.mark.parametrize(("size", "orientation"), [((48, 64), 1), ((48, 64), 6), ((64, 48), 6)])
def test_validate_image_boxes_shrink_with_their_image(
    settings: Settings, encode_image, xml, size, orientation: int
) -> None:
    text = xml([("cat", 2, 4, 12, 99)], size=size)
    whole = outcome(settings, encode_image(orientation=orientation), text)
    small = outcome(settings._replace(longest_side=32), encode_image(orientation=orientation), text)
    assert whole.image is not None
    assert small.image is not None
    assert codes(small) == codes(whole)
    assert (small.image.height, small.image.width) == (whole.image.height // 2, whole.image.width // 2)
    assert small.image.objects[0].box == tuple(side / 2 for side in whole.image.objects[0].box)


def test_validate_image_with_more_objects_than_are_supported_is_left_out(
    settings: Settings, encode_image, xml, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validate_image_module, "MAX_OBJECTS", 2)
    assert outcome(settings, encode_image(), xml([("cat", 1, 2, 30, 40)] * 2)).image is not None
    examined = outcome(settings, encode_image(), xml([("cat", 1, 2, 30, 40)] * 3))
    assert examined.image is None
    assert [(problem.code, problem.message) for problem in examined.problems] == [
        ("too_many_objects", "3, where 2 are the most")
    ]


def test_validate_image_crowd_is_kept_and_named_as_skipped_by_training(settings: Settings, encode_image) -> None:
    content = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 1}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (settings.folder / "a.jpg").write_bytes(encode_image())
    (settings.folder / "x.json").write_text(json.dumps(content))
    [entry] = SOURCES["coco"].listing(settings.folder).entries
    examined = validate_image(settings._replace(source="coco"), 0, entry)
    assert examined.image is not None
    assert [thing.is_crowd for thing in examined.image.objects] == [True]
    assert [(problem.code, problem.message) for problem in examined.problems] == [("crowd_not_trained", "cat")]

import json
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from tfrmod.errors import DatasetError
from tfrmod.masks import png_array
from tfrmod.sources import find_source

SQUARE = [10.0, 5.0, 30.0, 5.0, 30.0, 25.0, 10.0, 25.0]


def image(number: Any = 1, name: str = "a.jpg", **more: Any) -> dict[str, Any]:
    return {"id": number, "file_name": name, "width": 64, "height": 48, **more}


def thing(number: int = 1, image_id: Any = 1, category_id: Any = 3, **more: Any) -> dict[str, Any]:
    return {"id": number, "image_id": image_id, "category_id": category_id, "bbox": [10, 5, 20, 20.5], **more}


def coco(images: Any = None, annotations: Any = None, categories: Any = None) -> dict[str, Any]:
    return {
        "images": [image()] if images is None else images,
        "annotations": [thing()] if annotations is None else annotations,
        "categories": [{"id": 3, "name": "cat"}, {"id": 90, "name": "dog"}] if categories is None else categories,
    }


def test_coco_boxes_names_ids_and_sizes_are_those_of_the_file(put, read_all, names_and_boxes) -> None:
    crowd = thing(2, category_id=90, iscrowd=1, area=77.5, bbox=[0, 0, 5, 6])
    folder = put({"images/a.jpg": None, "annotations/instances_train2017.json": coco(annotations=[thing(), crowd])})
    assert find_source(folder) == "coco"
    listing, images, problems = read_all("coco", folder)
    assert problems == []
    assert listing.label_map == {3: "cat", 90: "dog"}
    assert listing.sets == {"train": (0,)}
    found = images["images/a.jpg"]
    assert names_and_boxes(found) == [("cat", (5, 10, 25.5, 30)), ("dog", (0, 0, 6, 5))]
    assert (found.height, found.width, found.source_id) == (48, 64, "1")
    assert [(one.is_crowd, one.area) for one in found.objects] == [(False, 410), (True, 77.5)]


def test_coco_lists_may_come_in_any_order_and_objects_of_one_image_apart(put, read_all) -> None:
    content = coco([image(1), image(2, "b.jpg")], [thing(1, 1), thing(2, 2), thing(3, 1)])
    folder = put({"a.jpg": None, "b.jpg": None, "x.json": json.dumps(dict(reversed(content.items())), indent=1)})
    _, images, problems = read_all("coco", folder)
    assert [len(images[name].objects) for name in ("a.jpg", "b.jpg")] == [2, 1]
    assert problems == []


@pytest.mark.parametrize(
    ("image_path", "json_path", "file_name"),
    [
        ("train/a.jpg", "train/_annotations.coco.json", "a.jpg"),
        ("images/a.jpg", "annotations/x.json", "a.jpg"),
        ("train2017/a.jpg", "annotations/instances_train2017.json", "a.jpg"),
        ("x/images/a.jpg", "x/labels/x.json", "images/a.jpg"),
        ("a.jpg", "x.json", "C:\\photos\\a.jpg"),
        ("a.jpg", "x.json", "../../photos/a.jpg"),
        ("a.jpg", "x.json", "https://host.invalid/bucket/a.jpg?size=1"),
        ("A.JPG", "x.json", "a.jpg"),
        ("a", "x.json", "a"),
    ],
)
def test_coco_images_are_found_by_whatever_names_them(put, read_all, image_path, json_path, file_name) -> None:
    folder = put({image_path: None, json_path: coco([image(name=file_name)])})
    _, images, problems = read_all("coco", folder)
    assert list(images) == [image_path]
    assert problems == []


def test_coco_name_in_two_sets_is_looked_for_in_the_folder_of_its_own(put, read_all) -> None:
    folder = put(
        {f"{name}/0.jpg": None for name in ("train", "val")}
        | {f"annotations/{name}.json": coco([image(name="0.jpg")]) for name in ("train", "val")}
    )
    listing, images, problems = read_all("coco", folder)
    assert [entry.image for entry in listing.entries] == ["train/0.jpg", "val/0.jpg"]
    assert listing.sets == {"train": (0,), "val": (1,)}
    assert problems == []
    # Both files have an image of id 1: an id that names two images names none.
    assert {found.source_id for found in images.values()} == {""}


def test_coco_one_image_in_two_files_belongs_to_both_sets(put, read_all) -> None:
    files = {f"annotations/instances_{name}.json": coco() for name in ("train", "trainval")}
    listing, _, problems = read_all("coco", put({"a.jpg": None, **files}))
    assert listing.sets == {"train": (0,), "trainval": (0,)}
    assert problems == []


def test_coco_captions_and_keypoints_of_the_same_images_are_left_alone(put, read_all) -> None:
    others = {f"annotations/{name}_val2017.json": coco(annotations=[]) for name in ("captions", "person_keypoints")}
    listing, images, problems = read_all(
        "coco", put({"a.jpg": None, "annotations/instances_val2017.json": coco()} | others)
    )
    assert len(images["a.jpg"].objects) == 1
    assert listing.sets == {"val": (0,)}
    assert problems == []


def test_coco_image_without_annotations_is_a_negative(put, read_all) -> None:
    folder = put({"a.jpg": None, "b.jpg": None, "x.json": coco([image(), image(2, "b.jpg")])})
    listing, images, problems = read_all("coco", folder)
    assert images["b.jpg"].objects == ()
    assert (listing.is_unlabelled, problems) == (False, [])


@pytest.mark.parametrize("name", ["image_info_test-dev2017", "image_info_unlabeled2017", "test"])
def test_coco_images_without_truth_are_not_mixed_with_the_others(put, read_all, name: str) -> None:
    info = coco([image(1, "b.jpg")], annotations=[])
    listing, images, problems = read_all(
        "coco", put({"a.jpg": None, "b.jpg": None, "x.json": coco(), f"{name}.json": info})
    )
    assert list(images) == ["a.jpg"]
    assert (listing.is_unlabelled, listing.sets) == (False, {})
    assert [(problem.code, problem.file) for problem in problems] == [("image_without_annotation", "b.jpg")]


def test_coco_info_file_of_a_test_is_unlabelled(put, read_all) -> None:
    info = {"images": [image()], "categories": [{"id": 1, "name": "cat"}]}
    listing, images, problems = read_all("coco", put({"a.jpg": None, "image_info_test-dev2017.json": info}))
    assert (listing.is_unlabelled, listing.sets, list(images), problems) == (True, {"test": (0,)}, ["a.jpg"], [])


@pytest.mark.parametrize(
    ("categories", "used", "expected", "codes"),
    [
        ([(0, "project"), (1, "cat")], 1, {1: "cat"}, []),
        ([(0, "cat"), (1, "dog")], 0, {1: "cat", 2: "dog"}, ["label_ids_changed"]),
        ([(-1, "cat"), (1, "dog")], 1, None, ["label_ids_changed"]),
        ([("a", "cat"), ("b", "dog")], "a", None, ["label_ids_changed"]),
        ([("7", "cat")], 7, {7: "cat"}, []),
        ([(1.0, "cat")], 1, {1: "cat"}, []),
        ([(1, "cat"), (2, "cat")], 2, {1: "cat"}, ["classes_merged"]),
        ([(1, " big \n cat ")], 1, {1: "big cat"}, []),
        ([(1, "cat"), (1, "dog")], 1, {1: "cat"}, ["class_unreadable"]),
        ([(1, "cat"), (None, "dog"), (3, "")], 1, {1: "cat"}, ["class_unreadable"] * 2),
    ],
)
def test_coco_ids_that_a_record_cannot_hold_are_changed_and_reported(
    put, read_all, categories, used, expected, codes
) -> None:
    listed = [{"id": number, "name": name} for number, name in categories]
    folder = put({"a.jpg": None, "x.json": coco(annotations=[thing(category_id=used)], categories=listed)})
    listing, images, problems = read_all("coco", folder)
    assert listing.label_map == expected
    assert [problem.code for problem in problems] == codes
    assert len(images["a.jpg"].objects) == 1


def test_coco_files_that_disagree_on_ids_are_numbered_by_name(put, read_all) -> None:
    other = coco([image(2, "b.jpg")], [thing(1, 2)], [{"id": 3, "name": "dog"}])
    folder = put({"a.jpg": None, "b.jpg": None, "train.json": coco(), "val.json": other})
    listing, images, problems = read_all("coco", folder)
    assert listing.label_map is None
    assert [problem.code for problem in problems] == ["label_ids_changed"]
    assert (images["a.jpg"].objects[0].name, images["b.jpg"].objects[0].name) == ("cat", "dog")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bbox": [1, 2, 3]}, "four numbers"),
        ({"bbox": ["1", 2, 3, 4]}, "four numbers"),
        ({"bbox": None}, "four numbers"),
        ({"bbox": [float("nan"), 2, 3, 4]}, "four numbers"),
        ({"bbox": [float("inf"), 2, 3, 4]}, "four numbers"),
        ({"bbox": [10**400, 2, 3, 4]}, "four numbers"),
        ({"bbox": [True, 2, 3, 4]}, "four numbers"),
        ({"bbox": {"x": 1}}, "four numbers"),
        ({"category_id": 4}, "category_id 4 is not among"),
        ({"category_id": None}, "category_id None"),
        ({"category_id": [3]}, "category_id"),
    ],
)
def test_coco_unreadable_object_is_dropped_and_the_others_stay(put, read_all, change, words) -> None:
    folder = put({"a.jpg": None, "x.json": coco(annotations=[thing() | change, thing(2)])})
    _, images, problems = read_all("coco", folder)
    assert len(images["a.jpg"].objects) == 1
    assert [(problem.code, problem.file) for problem in problems] == [("object_unreadable", "a.jpg")]
    assert words in problems[0].message


@pytest.mark.parametrize(
    ("images", "annotations", "expected"),
    [
        ([image(), image(2, "gone.jpg")], None, [("annotation_without_image", "gone.jpg")]),
        ([image(), image(2, "b.jpg"), image(2, "b.jpg")], None, [("image_id_shared", "b.jpg")]),
        ([image(), image(2, "a.jpg")], None, [("annotations_merged", "a.jpg")]),
        ([image(), {"id": 2}, "x", image(None), image(3, " ")], None, [("line_unreadable", "x.json")] * 4),
        (
            [image(), image(2, "b.jpg"), image(2, "c.jpg")],
            None,
            [("image_id_shared", "b.jpg"), ("image_id_shared", "c.jpg")],
        ),
        (None, [thing(), thing(2, 9)], [("annotation_without_image", "x.json")]),
        (None, [thing(), {"bbox": [1, 2, 3, 4]}, 5], [("object_unreadable", "x.json")] * 2),
    ],
)
def test_coco_what_belongs_to_nothing_is_named(put, read_all, images, annotations, expected) -> None:
    folder = put({"a.jpg": None, "x.json": coco(images, annotations)})
    _, read, problems = read_all("coco", folder)
    assert [(problem.code, problem.file) for problem in problems] == expected
    assert len(read["a.jpg"].objects) == 1


def test_coco_ids_written_as_words_are_ids(put, read_all) -> None:
    folder = put({"a.jpg": None, "x.json": coco([image("001")], [thing(image_id="001")])})
    _, images, problems = read_all("coco", folder)
    assert (len(images["a.jpg"].objects), images["a.jpg"].source_id, problems) == (1, "001", [])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"images": [{"id": 1}', "ends at byte 21"),
        ('{"images": [' + "[" * 5000, "recursion"),
        ('{"annotations": []}', "lists no images"),
        ('{"images": []}', "Of 0 images"),
        ({"images": [image(name="b.jpg")]}, r"Of 1 image in x.json, none .* b.jpg: named in x.json"),
    ],
)
def test_coco_file_of_which_nothing_can_be_used_is_refused(put, read_all, content, words) -> None:
    folder = put({"a.jpg": None, "x.json": content})
    with pytest.raises(DatasetError, match=words):
        read_all("coco", folder)


def test_coco_damaged_file_beside_a_good_one_is_named(put, read_all) -> None:
    _, images, problems = read_all("coco", put({"a.jpg": None, "x.json": coco(), "y.json": '{"images": [{'}))
    assert [(problem.code, problem.file) for problem in problems] == [("annotation_malformed", "y.json")]
    assert len(images) == 1


def test_coco_other_json_is_no_coco(put) -> None:
    folder = put({"a.jpg": None, "x.json": {"shapes": []}, "y.json": [1]})
    with pytest.raises(DatasetError, match="No annotations were found"):
        find_source(folder)


def test_coco_file_that_changes_between_listing_and_reading_is_noticed(put) -> None:
    from tfrmod.sources import coco as source

    folder = put({"a.jpg": None, "x.json": coco()})
    entry = source.listing(folder).entries[0]
    (folder / "x.json").write_text(" " * 50)
    assert source.read(folder, entry).image is None
    (folder / "x.json").unlink()
    assert source.read(folder, entry).problems[0].code == "annotation_malformed"


@pytest.mark.parametrize("kind", ["polygons", "compressed", "uncompressed"])
def test_coco_every_way_to_write_an_outline_gives_pycocotools_mask(put, read_all, kind: str) -> None:
    runs = coco_mask.merge(coco_mask.frPyObjects([SQUARE, [40, 40, 60, 40, 50, 47]], 48, 64))
    expected = coco_mask.decode(runs)
    outline: Any = [SQUARE, [40, 40, 60, 40, 50, 47]]
    if kind == "compressed":
        outline = {"size": [48, 64], "counts": runs["counts"].decode()}
    elif kind == "uncompressed":
        flat = expected.ravel(order="F")
        changes = np.flatnonzero(np.diff(flat)) + 1
        outline = {"size": [48, 64], "counts": np.diff([0, *changes, flat.size]).tolist()}
    folder = put({"a.jpg": None, "x.json": coco(annotations=[thing(segmentation=outline)])})
    _, images, problems = read_all("coco", folder, masks=True)
    assert problems == []
    np.testing.assert_array_equal(png_array(images["a.jpg"].objects[0].mask), expected)
    _, images, _ = read_all("coco", folder)
    assert images["a.jpg"].objects[0].mask == b""


@pytest.mark.parametrize(
    "outline",
    [
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5]],
        [["a"] * 6],
        [1, 2, 3, 4, 5, 6],
        "x",
        {"counts": "abc"},
        {"counts": [1, 2], "size": [48, 64]},
        {"counts": [-1, 48 * 64 + 1], "size": [48, 64]},
        {"counts": "o" * 50, "size": [48, 64]},
        {"counts": "é", "size": [48, 64]},
        {"counts": [48 * 64], "size": [10**6, 10**6]},
        {"counts": [1], "size": ["1", 1]},
        {"counts": {}, "size": [48, 64]},
    ],
)
def test_coco_mask_that_cannot_be_drawn_is_left_out_and_the_box_stays(put, read_all, outline: Any) -> None:
    folder = put({"a.jpg": None, "x.json": coco(annotations=[thing(segmentation=outline)])})
    _, images, problems = read_all("coco", folder, masks=True)
    assert [problem.code for problem in problems] == ["mask_unreadable"]
    assert images["a.jpg"].objects[0].mask == b""


def test_coco_masks_are_drawn_at_the_size_of_the_image_whatever_is_stated(put, read_all) -> None:
    stated = image(width=13377, height=13377)
    runs = {"size": [13377, 13377], "counts": [13377 * 13377]}
    annotations = [thing(segmentation=[SQUARE]), thing(2, segmentation=runs)]
    _, images, problems = read_all("coco", put({"a.jpg": None, "x.json": coco([stated], annotations)}), masks=True)
    drawn, refused = images["a.jpg"].objects
    assert png_array(drawn.mask).shape == (48, 64)
    assert refused.mask == b""
    assert [problem.code for problem in problems] == ["mask_unreadable"]
    assert "run lengths for 13377x13377 pixels, and the image has 64x48" in problems[0].message


@pytest.mark.parametrize(
    ("outline", "expected"),
    [
        ([SQUARE, [40, 40, 60, 40, 50, 47]], (5, 10, 47, 60)),
        ({"size": [48, 64], "counts": [48 * 10 + 5, 20, 28, 20, 48 * 64 - 553]}, (5, 10, 25, 12)),
        ({"size": [48, 64], "counts": [40, 20, 48 * 64 - 60]}, (0, 0, 48, 2)),
    ],
)
@pytest.mark.parametrize("bbox", [{}, {"bbox": None}, {"bbox": []}])
def test_coco_object_without_a_box_has_that_of_its_outline(put, read_all, outline, expected, bbox) -> None:
    annotation = {key: value for key, value in thing(segmentation=outline).items() if key != "bbox"} | bbox
    _, images, problems = read_all("coco", put({"a.jpg": None, "x.json": coco(annotations=[annotation])}))
    assert images["a.jpg"].objects[0].box == expected
    assert [(problem.code, problem.message) for problem in problems] == [("box_from_outline", "cat")]


@pytest.mark.parametrize("outline", [[[1, 2, 3, 4]], {"size": [48, 64], "counts": [48 * 64]}, {"size": [48, 64]}, "x"])
def test_coco_object_without_box_and_outline_is_unreadable(put, read_all, outline) -> None:
    folder = put({"a.jpg": None, "x.json": coco(annotations=[thing(), thing(bbox=None, segmentation=outline)])})
    _, images, problems = read_all("coco", folder)
    assert (len(images["a.jpg"].objects), [problem.code for problem in problems]) == (1, ["object_unreadable"])
    assert "no bbox, and a segmentation without one" in problems[0].message


@pytest.mark.parametrize(
    ("written", "is_crowd"),
    [
        *((word, True) for word in (1, 1.0, True, "1", "true", "True", " YES ")),
        *((word, False) for word in (0, 0.0, False, "0", "false", "", None, "no")),
    ],
)
def test_coco_iscrowd_is_read_however_it_is_written(put, read_all, written, is_crowd) -> None:
    folder = put({"a.jpg": None, "x.json": coco(annotations=[thing(iscrowd=written), thing(2, iscrowd="maybe")])})
    _, images, problems = read_all("coco", folder)
    assert [one.is_crowd for one in images["a.jpg"].objects] == [is_crowd]
    assert [problem.message for problem in problems] == ["iscrowd is 0 or 1; this is maybe"]


@pytest.mark.parametrize(
    ("ids", "is_kept"),
    [
        ((1, 90), True),
        ((1, 1203), True),
        (range(1, 3001), True),
        ((77, 583729123), False),
        ((1, 2001), False),
        ((1, 10**15), False),
    ],
)
def test_coco_ids_that_are_keys_of_a_database_are_renumbered_and_reported(put, read_all, ids, is_kept) -> None:
    categories = [{"id": number, "name": f"class {number}"} for number in ids]
    folder = put({"a.jpg": None, "x.json": coco(annotations=[thing(category_id=ids[0])], categories=categories)})
    listing, images, problems = read_all("coco", folder)
    assert (listing.label_map is not None) == is_kept
    assert [problem.code for problem in problems] == ([] if is_kept else ["label_ids_changed"])
    assert is_kept or f"id {ids[-1]} for 2 classes" in problems[0].message
    assert images["a.jpg"].objects[0].name == f"class {ids[0]}"


@pytest.mark.parametrize("name", ["\ud800cat", "\x1b]0;x\x07", "a\u202eb", "\ufffd", "x" * 201, " ", "\u0085\u009b"])
def test_coco_class_name_that_cannot_be_printed_is_left_out(put, read_all, name: str) -> None:
    categories = [{"id": 3, "name": name}, {"id": 90, "name": "dog"}]
    folder = put({"a.jpg": None, "x.json": coco(annotations=[thing(), thing(2, 1, 90)], categories=categories)})
    listing, images, problems = read_all("coco", folder)
    assert (listing.label_map, [one.name for one in images["a.jpg"].objects]) == ({90: "dog"}, ["dog"])
    assert [problem.code for problem in problems] == ["class_unreadable", "object_unreadable"]


def test_coco_names_that_fit_several_images_are_left_out_and_named(put, read_all) -> None:
    image_files = {f"{folder}/0.jpg": None for folder in ("a_raw", "b_done")}
    content = coco([image(name="0.jpg"), image(2, "1.jpg")], [thing(), thing(2, 2)])
    _, images, problems = read_all("coco", put(image_files | {"a_raw/1.jpg": None, "annotations/x.json": content}))
    assert list(images) == ["a_raw/1.jpg"]
    assert ("image_ambiguous", "annotations/x.json", "0.jpg fits a_raw/0.jpg, b_done/0.jpg") in problems
    assert {problem.file for problem in problems if problem.code == "image_without_annotation"} == set(image_files)


@pytest.mark.parametrize("name", ["cafe\u0301.jpg", "/data/local-files/?d=x%5Ccaf%C3%A9.jpg", "caf%C3%A9.jpg"])
def test_coco_names_of_other_spelling_are_found(put, read_all, name: str) -> None:
    _, images, problems = read_all("coco", put({"images/caf\u00e9.jpg": None, "x.json": coco([image(name=name)])}))
    assert (list(images), problems) == (["images/caf\u00e9.jpg"], [])


def test_coco_image_that_one_file_lists_twice_has_the_objects_of_both(put, read_all) -> None:
    other = thing(3, 7, 90, bbox=[40, 5, 10, 10])
    content = coco([image(), image(7)], [thing(), thing(2, 7), other])
    _, images, problems = read_all("coco", put({"a.jpg": None, "x.json": content}))
    assert [one.name for one in images["a.jpg"].objects] == ["cat", "dog"]
    assert [(problem.code, problem.message) for problem in problems] == [
        ("annotations_merged", "x.json lists it with the ids 1, 7; there twice: 1 object")
    ]


def test_coco_image_that_two_files_annotate_differently_is_left_out(put, read_all) -> None:
    images = [image(), image(2, "b.jpg")]
    one, other = coco(images, [thing(), thing(2, 2)]), coco(images, [thing(bbox=[1, 1, 9, 9]), thing(2, 2)])
    listing, read, problems = read_all("coco", put({"a.jpg": None, "b.jpg": None, "x.json": one, "y.json": other}))
    assert list(read) == ["b.jpg"]
    assert [(problem.code, problem.file) for problem in problems] == [("annotations_disagree", "a.jpg")]
    assert listing.entries[0].image == "b.jpg"


def test_coco_two_files_with_other_numbers_for_the_same_classes_agree(put, read_all) -> None:
    other = coco(None, [thing(1, 1, 1, bbox=[10.0, 5.0, 20.0, 20.5])], [{"id": 1, "name": "cat"}])
    _, images, problems = read_all("coco", put({"a.jpg": None, "x.json": coco(), "y.json": other}))
    assert len(images["a.jpg"].objects) == 1
    assert [(problem.code, problem.file) for problem in problems] == [("classes_merged", "cat")]


def test_coco_junk_in_the_lists_is_counted_beyond_the_first_thousand(put, read_all) -> None:
    folder = put({"a.jpg": None, "x.json": coco([image(), *[1] * 1500], [thing(), *[1] * 2000])})
    _, _, problems = read_all("coco", folder)
    assert len(problems) == 2002
    assert {problem.message for problem in problems if "more" in problem.message} == {
        "and 500 more of this kind",
        "and 1,000 more of this kind",
    }


def test_coco_file_of_junk_is_given_up_soon(put, read_all, monkeypatch) -> None:
    from tfrmod.sources import coco_file

    monkeypatch.setattr(coco_file, "_MAX_JUNK", 10)
    with pytest.raises(DatasetError, match=r"11 of its first 12 elements are no images and no annotations"):
        read_all("coco", put({"a.jpg": None, "x.json": coco([image(), *[1] * 50])}))


def test_coco_more_classes_than_are_supported_are_refused(put, read_all, monkeypatch) -> None:
    from tfrmod.sources import coco_file

    monkeypatch.setattr(coco_file, "MAX_CLASSES", 1)
    with pytest.raises(DatasetError, match="more than 1 categories"):
        read_all("coco", put({"a.jpg": None, "x.json": coco()}))


def test_coco_image_with_more_objects_than_are_supported_is_not_even_read(put, read_all, monkeypatch) -> None:
    from tfrmod.sources import coco as source

    monkeypatch.setattr(source, "MAX_OBJECTS", 1)
    content = coco([image(), image(2, "b.jpg")], [thing(), thing(2), thing(3, 2)])
    _, images, problems = read_all("coco", put({"a.jpg": None, "b.jpg": None, "x.json": content}))
    assert list(images) == ["b.jpg"]
    assert [(problem.code, problem.file) for problem in problems] == [("too_many_objects", "a.jpg")]

import numpy as np
import pytest

from tfrmod.errors import DatasetError
from tfrmod.masks import png_array
from tfrmod.sources import find_source

YAML = "train: images/train\nval: images/val\nnames: [cat, big  dog]\n"
LINE = "1 0.5 0.25 0.25 0.5\n"  # On 64x48: (0, 24, 24, 40).
BOX = ("big dog", (0.0, 24.0, 24.0, 40.0))


def test_yolo_shares_become_pixels_and_numbers_become_ids_from_one(put, read_all, names_and_boxes) -> None:
    files = {f"images/{name}/{name}.jpg": None for name in ("train", "val")}
    labels = {f"labels/{name}/{name}.txt": LINE for name in ("train", "val")}
    folder = put(files | labels | {"data.yaml": YAML})
    assert find_source(folder) == "yolo"
    listing, images, problems = read_all("yolo", folder)
    assert problems == []
    assert listing.label_map == {1: "cat", 2: "big dog"}
    assert listing.sets == {"train": (0,), "val": (1,)}
    assert names_and_boxes(images["images/train/train.jpg"]) == [BOX]
    assert (images["images/train/train.jpg"].height, images["images/train/train.jpg"].width) == (48, 64)


@pytest.mark.parametrize(
    ("image_path", "label_path"),
    [
        ("a.jpg", "a.txt"),
        ("train/images/a.jpg", "train/labels/a.txt"),
        ("images/a.jpg", "labels/a.txt"),
        ("images/train/a.jpg", "labels/train/a.txt"),
        ("JPEGImages/A.JPG", "labels/a.txt"),
        ("a.jpg", "labels/a.txt"),
        ("images of it/a.jpg", "elsewhere/a.txt"),
        ("images/b c.mp4#t=1.jpg", "labels/b c.mp4#t=1.txt"),
    ],
)
def test_yolo_any_layout_is_found(put, read_all, names_and_boxes, image_path: str, label_path: str) -> None:
    folder = put({image_path: None, label_path: LINE, "data.yaml": YAML})
    assert find_source(folder) == "yolo"
    _, images, problems = read_all("yolo", folder)
    assert names_and_boxes(images[image_path]) == [BOX]
    assert problems == []


@pytest.mark.parametrize(
    ("papers", "expected"),
    [
        ({"data.yaml": "names:\n  0: cat\n  1: dog\n"}, {1: "cat", 2: "dog"}),
        ({"data.yaml": "names: {3: cat, 1: 7}"}, {4: "cat", 2: "7"}),
        ({"classes.txt": "cat\ndog\n\n"}, {1: "cat", 2: "dog"}),
        ({"data/obj.names": "cat\r\ndog"}, {1: "cat", 2: "dog"}),
        ({"train/_darknet.labels": "cat\ndog"}, {1: "cat", 2: "dog"}),
        ({"data.yaml": "names: [cat, dog]", "classes.txt": "cat"}, {1: "cat", 2: "dog"}),
        ({"data.yaml": "names: [cat]", "classes.txt": "cat\ndog"}, {1: "cat", 2: "dog"}),
        ({"classes.txt": "cat\ndog", "predefined_classes.txt": "x\ny"}, {1: "cat", 2: "dog"}),
        ({"data.yaml": "names: [no, 12:30]"}, {1: "no", 2: "12:30"}),
        ({"data.yaml": "names: {00: no, 1: 010}"}, {1: "no", 2: "010"}),
        ({"classes.txt": "\ufeffcat\ndog"}, {1: "cat", 2: "dog"}),
        ({"classes.txt": "cat\n汽车".encode("utf-16")}, {1: "cat", 2: "汽车"}),
        ({"docker-compose.yaml": "a: !x [", "data.yaml": "names: [cat, dog]"}, {1: "cat", 2: "dog"}),
        ({"data.yaml": "names: [dog, dog]"}, {1: "dog"}),
        ({"hyp.yaml": "lr: 1", "data.yaml": "names: [cat, dog]"}, {1: "cat", 2: "dog"}),
        ({}, {2: "1"}),
    ],
)
def test_yolo_names_come_from_descriptions_and_lists(put, read_all, papers, expected) -> None:
    listing, images, _ = read_all("yolo", put({"a.jpg": None, "a.txt": LINE} | papers))
    assert listing.label_map == expected
    assert {thing.name for thing in images["a.jpg"].objects} <= set(expected.values())


@pytest.mark.parametrize(
    ("yaml", "words"),
    [
        ("names: !!python/object/apply:os.system ['touch /tmp/never']", "plain values"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nnames: [*b, *b]", "aliases"),
        ("names: [[a]]", "no usable name"),
        ("names: cat", "not a str"),
        ("names: {a: b}", "no usable name"),
        ("names: [", "plain values"),
        ("names: [a]\n" + "x: " + "[" * 5000, "nested"),
        ("names: [a]\n" + "x: " + "- " * 5000, "plain values"),
        ("names: {0: a, 00: b}", "two names"),
        ("names: [a, b]\nkpt_shape: 17", "kpt_shape is a pair"),
        ("names: [a, b]\nkpt_shape: [17, 4]", "kpt_shape is a pair"),
        ("names: [a, \\u202Eb]".replace("\\u202E", "\u202e"), "cannot be printed"),
    ],
)
def test_yolo_yaml_with_tags_aliases_or_nonsense_is_refused(put, read_all, yaml: str, words: str) -> None:
    with pytest.raises(DatasetError, match=r"The list of class names data\.yaml, by which a\.txt") as caught:
        read_all("yolo", put({"a.jpg": None, "a.txt": LINE, "data.yaml": yaml}))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("7 0.5 0.5 0.1 0.1", "the class 7 has no name in data.yaml, which names 2"),
        ("-1 0.5 0.5 0.1 0.1", "not a number of at least 0"),
        ("0.5 0.5 0.5 0.1 0.1", "not a number of at least 0"),
        ("1e300 0.5 0.5 0.1 0.1", "not a number of at least 0"),
        ("cat 0.5 0.5 0.1 0.1", "not a class and numbers"),
        ("0,0.5,0.5,0.1,0.1", "not a class and numbers"),
        ("0 0.5 0.5 0.1", "3 numbers"),
        ("0", "0 numbers"),
        ("0 320 240 100 80", "are not fractions"),
        ("0 nan 0.5 0.1 0.1", "are not fractions"),
        ("0 inf 0.5 0.1 0.1", "are not fractions"),
    ],
)
def test_yolo_wrong_line_is_dropped_and_the_others_stay(put, read_all, names_and_boxes, line: str, words: str) -> None:
    _, images, problems = read_all("yolo", put({"a.jpg": None, "a.txt": f"{LINE}{line}\n", "data.yaml": YAML}))
    assert names_and_boxes(images["a.jpg"]) == [BOX]
    assert [(problem.code, problem.file) for problem in problems] == [("object_unreadable", "a.txt")]
    assert "line 2" in problems[0].message
    assert words in problems[0].message


@pytest.mark.parametrize("line", ["0 0.5 0.5 0.1 0.1 0.9", "0 0.1 0.1 0.2 0.2 3 0.4", "0 0.5 0.5 0.1 0.1 0.9 1"])
def test_yolo_object_whose_place_cannot_be_known_leaves_its_image_out(put, read_all, line: str) -> None:
    _, images, problems = read_all("yolo", put({"a.jpg": None, "a.txt": f"{LINE}{line}\n", "data.yaml": YAML}))
    assert images == {}
    assert [(problem.code, problem.file) for problem in problems] == [("annotation_malformed", "a.txt")]
    assert problems[0].message.startswith("line 2: ")
    assert "remove these columns" in problems[0].message


def test_yolo_outline_is_a_box_and_a_mask(put, read_all, names_and_boxes) -> None:
    folder = put({"a.jpg": None, "a.txt": "0 0.25 0.25 0.5 0.25 0.5 0.75 0.25 0.75", "data.yaml": YAML})
    _, images, problems = read_all("yolo", folder, masks=True)
    assert problems == []
    assert names_and_boxes(images["a.jpg"]) == [("cat", (12, 16, 36, 32))]
    mask = png_array(images["a.jpg"].objects[0].mask)
    assert mask[12:36, 16:32].all()
    assert mask.sum() == 24 * 16


def test_yolo_of_poses_the_box_is_taken(put, read_all, names_and_boxes) -> None:
    folder = put(
        {"a.jpg": None, "a.txt": LINE.strip() + " 0.1 0.2 2 0.3 0.4 1", "data.yaml": YAML + "kpt_shape: [2, 3]"}
    )
    _, images, problems = read_all("yolo", folder)
    assert (names_and_boxes(images["a.jpg"]), problems) == ([BOX], [])


def test_yolo_turned_image_has_the_sides_that_it_shows(put, read_all, encode_image, names_and_boxes) -> None:
    for content in (
        encode_image(orientation=6),
        encode_image("PNG", orientation=6),
        encode_image("WEBP", orientation=6),
    ):
        folder = put({"a.jpg": content, "a.txt": "0 0.5 0.5 1 1", "data.yaml": YAML})
        _, images, _ = read_all("yolo", folder)
        assert names_and_boxes(images["a.jpg"]) == [("cat", (0, 0, 64, 48))]


def test_yolo_images_without_labels_are_negatives(put, read_all) -> None:
    folder = put({"a.jpg": None, "b.jpg": None, "c.jpg": None, "a.txt": LINE, "b.txt": "", "README.txt": "Hi"})
    _, images, problems = read_all("yolo", folder)
    assert [len(images[name].objects) for name in ("a.jpg", "b.jpg", "c.jpg")] == [1, 0, 0]
    assert [(problem.code, problem.file) for problem in problems] == [("image_unlabelled", "c.jpg")]


def test_yolo_image_whose_labels_may_be_those_of_no_image_is_left_out(put, read_all) -> None:
    _, images, problems = read_all("yolo", put({"a.jpg": None, "c.jpg": None, "a.txt": LINE, "d.txt": LINE}))
    assert list(images) == ["a.jpg"]
    assert [(problem.code, problem.file) for problem in problems] == [
        ("image_without_annotation", "c.jpg"),
        ("annotation_without_image", "d.txt"),
    ]
    assert "one of the 1 that belong to no image, such as d.txt" in problems[0].message


def test_yolo_damaged_image_is_left_to_its_validation(put, read_all) -> None:
    _, images, problems = read_all("yolo", put({"a.jpg": b"no image", "a.txt": LINE}))
    assert (images["a.jpg"].objects, problems) == ((), [])


@pytest.mark.parametrize(
    ("papers", "expected"),
    [
        ({"data.yaml": "train: ../train/images\nval: ../valid/images\nnames: [a, b]"}, {"train": (0,), "val": (1,)}),
        (
            {"data.yaml": "path: /else/where\ntrain: [train/images]\nval: valid\nnames: [a, b]"},
            {"train": (0,), "val": (1,)},
        ),
        (
            {
                "data.yaml": "train: t.txt\nval: v.txt\nnames: [a, b]",
                "t.txt": "./train/images/a.jpg",
                "v.txt": "b.jpg\n",
            },
            {"train": (0,), "val": (1,)},
        ),
        ({"data.yaml": "train: train\nval: train\nnames: [a, b]"}, {"train": (0,), "val": (1,)}),
        ({"obj.names": "a\nb", "train.txt": "data/obj/b.jpg\n", "valid.txt": "x/a.jpg"}, {"train": (1,), "val": (0,)}),
        ({}, {"train": (0,), "val": (1,)}),
    ],
)
def test_yolo_sets_come_from_descriptions_or_folders(put, read_all, papers, expected) -> None:
    folder = put(
        {"train/images/a.jpg": None, "valid/images/b.jpg": None, "train/labels/a.txt": LINE, "valid/labels/b.txt": LINE}
        | papers
    )
    listing, _, problems = read_all("yolo", folder)
    assert listing.sets == expected
    assert problems == []


def test_yolo_list_that_names_images_in_vain_says_so_where_it_is_used(put, read_all) -> None:
    papers = {
        "data.yaml": "train: t.txt\nval: gone\ntest: t2.txt\nnames: [a, b]",
        "t.txt": "a.jpg\nx.jpg",
        "t2.txt": "b.jpg",
    }
    listing, _, _ = read_all("yolo", put({"a.jpg": None, "b.jpg": None, "a.txt": LINE, "b.txt": LINE} | papers))
    assert listing.sets == {"train": (0,), "test": (1,)}
    assert [problem.message for problem in listing.set_problems["train"]] == ["x.jpg"]
    assert [problem.message for problem in listing.set_problems["val"]] == ["gone"]


def test_yolo_unusable_lists_are_reported(put, read_all) -> None:
    lists = {"train.txt": "汽车.jpg\n".encode("gbk"), "data.yaml": "train: train.txt\nval: val.txt\nnames: [a, b]"}
    listing, _, problems = read_all("yolo", put({"猫.jpg": None, "猫.txt": LINE, "val.txt": "x.jpg\n"} | lists))
    assert listing.sets == {}
    assert [(problem.code, problem.file) for problem in problems] == [
        ("annotation_malformed", "train.txt"),
        ("set_lists_unknown", "val.txt"),
    ]


def test_yolo_images_without_a_single_label_are_refused(put, read_all) -> None:
    with pytest.raises(DatasetError, match="1 image and 1 text, none of which belong together"):
        read_all("yolo", put({"a.jpg": None, "b.txt": LINE, "data.yaml": YAML}))


def test_yolo_boxes_equal_those_of_the_voc_data_they_were_made_from(test_data, put, read_all, tmp_path) -> None:
    from tfrmod.archive import extract

    voc_folder = extract(test_data / "deepforest_trees.zip", tmp_path / "voc")
    _, truth, _ = read_all("voc", voc_folder)
    image = next(found for name, found in truth.items() if name.endswith("OSBS_029.tif"))
    lines = [
        f"0 {(x0 + x1) / 800} {(y0 + y1) / 800} {(x1 - x0) / 400} {(y1 - y0) / 400}\n"
        for (y0, x0, y1, x1) in (thing.box for thing in image.objects)
    ]
    folder = put({"a.tif": (voc_folder / image.filename).read_bytes(), "a.txt": "".join(lines)})
    _, images, _ = read_all("yolo", folder)
    boxes = [[thing.box for thing in found.objects] for found in (image, images["a.tif"])]
    np.testing.assert_allclose(boxes[1], boxes[0], atol=1e-6)

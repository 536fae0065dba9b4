import pytest

from tfrmod.errors import DatasetError

LINE = "0 0.5 0.5 0.25 0.5\n"


def classes_of(images) -> dict[str, str]:
    return {path: image.objects[0].name for path, image in images.items() if image.objects}


def two_sets(one: dict[str, str], other: dict[str, str]) -> dict[str, str | None]:
    files: dict[str, str | None] = {}
    for place, lists in (("a", one), ("b", other)):
        files |= {f"{place}/images/{place}.jpg": None, f"{place}/labels/{place}.txt": LINE}
        files |= {f"{place}/{name}": content for name, content in lists.items()}
    return files


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"data.yaml": "names: [cat, dog]"}, {"data.yaml": "names: [dog, cat]"}),
        ({"classes.txt": "cat\ndog"}, {"classes.txt": "dog\ncat"}),
        ({"labels/classes.txt": "cat\ndog"}, {"data.yaml": "names: {0: dog, 1: cat}"}),
        ({"meta/data.yaml": "names: [cat, dog]"}, {"meta/data.yaml": "names: [dog, cat]"}),
    ],
)
def test_yolo_classes_each_label_file_is_read_by_the_nearest_list(put, read_all, one, other) -> None:
    listing, images, problems = read_all("yolo", put(two_sets(one, other)))
    assert classes_of(images) == {"a/images/a.jpg": "cat", "b/images/b.jpg": "dog"}
    assert listing.label_map in ({1: "cat", 2: "dog"}, {1: "dog", 2: "cat"})
    assert [problem.code for problem in problems] == ["label_ids_changed"]


def test_classes_of_several_lists_are_joined_by_name(put, read_all) -> None:
    files = two_sets({"data.yaml": "names: [cat, dog]"}, {"data.yaml": "names: [bird, dog]"})
    listing, images, _ = read_all("yolo", put(files))
    assert listing.label_map == {1: "cat", 2: "dog", 3: "bird"}
    assert classes_of(images) == {"a/images/a.jpg": "cat", "b/images/b.jpg": "bird"}


def test_yolo_classes_nearer_list_that_disagrees_is_reported(put, read_all) -> None:
    files = two_sets({"data.yaml": "names: [cat]"}, {}) | {"data.yaml": "names: [dog, cat]"}
    _, images, problems = read_all("yolo", put(files))
    assert classes_of(images) == {"a/images/a.jpg": "cat", "b/images/b.jpg": "dog"}
    differing = [problem for problem in problems if problem.code == "class_lists_differ"]
    assert [problem.file for problem in differing] == ["data.yaml"]
    assert "class 0 is 'cat' in a/data.yaml and 'dog' in data.yaml" in differing[0].message


@pytest.mark.parametrize(
    "lists",
    [
        {"data.yaml": "names: [cat, dog]", "classes.txt": "dog\ncat"},
        {"data.yaml": "names: [cat, dog]", "dataset.yaml": "names: [dog, cat]"},
        {"x/data.yaml": "names: [cat, dog]", "y/data.yaml": "names: [dog, cat]"},
        {"classes.txt": "cat\ndog", "obj.names": "dog\ncat"},
    ],
)
def test_yolo_classes_lists_that_are_equally_near_and_disagree_are_refused(
    put, read_all, lists: dict[str, str]
) -> None:
    with pytest.raises(DatasetError, match="Two lists of class names disagree") as caught:
        read_all("yolo", put({"images/a.jpg": None, "labels/a.txt": LINE} | lists))
    assert all(path in str(caught.value) for path in lists)


def test_yolo_classes_list_of_another_program_does_not_matter_where_a_nearer_one_is(put, read_all) -> None:
    files = {"data.yaml": "names: [cat]", "yolov5/data/coco.yaml": "names: [person]", "a.jpg": None, "a.txt": LINE}
    listing, _, problems = read_all("yolo", put(files))
    assert (listing.label_map, problems) == ({1: "cat"}, [])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("汽车\n行人\n自行车\n".encode("gbk"), "it is not UTF-8"),
        ("car\n\u202egnp.tac\n", "cannot be printed"),
        ("\ncat\ndog\n", "its first line is blank"),
        (b"\x00\x01\x02", "not text"),
    ],
)
def test_yolo_classes_list_that_cannot_be_read_for_sure_ends_the_run(put, read_all, content, words: str) -> None:
    with pytest.raises(DatasetError, match=r"The list of class names classes\.txt") as caught:
        read_all("yolo", put({"a.jpg": None, "a.txt": LINE, "classes.txt": content}))
    assert words in str(caught.value)


def test_yolo_classes_guessed_encoding_is_stated(put, read_all) -> None:
    files = {"a.jpg": None, "a.txt": LINE, "classes.txt": "größer\nkleiner\n".encode("cp1252")}
    listing, _, problems = read_all("yolo", put(files))
    assert listing.label_map == {1: "größer", 2: "kleiner"}
    assert [(problem.code, problem.file) for problem in problems] == [("encoding_guessed", "classes.txt")]


def test_yolo_classes_blank_line_counts_as_labelimg_counts_and_is_reported(put, read_all) -> None:
    files = {"a.jpg": None, "a.txt": f"{LINE}2{LINE[1:]}", "classes.txt": "cat\n\ndog\n\n"}
    listing, images, problems = read_all("yolo", put(files))
    assert listing.label_map == {1: "cat", 3: "dog"}
    assert [thing.name for thing in images["a.jpg"].objects] == ["cat", "dog"]
    assert [problem.code for problem in problems] == ["class_list_doubtful"]
    assert "line 2 is blank" in problems[0].message


@pytest.mark.parametrize(("index", "content"), [(1, "cat\n\ndog\n"), (3, "cat\n\ndog\n"), (2, "cat\n\ndog\n\nbird\n")])
def test_yolo_classes_blank_line_that_may_count_or_not_is_refused(put, read_all, index: int, content: str) -> None:
    files = {"a.jpg": None, "a.txt": f"{index}{LINE[1:]}", "classes.txt": content}
    with pytest.raises(DatasetError, match=rf"classes\.txt has a blank line 2.* the class {index} in a\.txt"):
        read_all("yolo", put(files))


def test_yolo_classes_blank_line_after_the_classes_in_use_does_not_matter(put, read_all) -> None:
    _, images, _ = read_all("yolo", put({"a.jpg": None, "a.txt": LINE, "classes.txt": "cat\n\ndog\n"}))
    assert images["a.jpg"].objects[0].name == "cat"


@pytest.mark.parametrize("count", [1, 3])
def test_yolo_classes_another_number_of_names_than_nc_is_reported(put, read_all, count: int) -> None:
    files = {"a.jpg": None, "a.txt": LINE, "data.yaml": f"nc: {count}\nnames: [cat, dog]"}
    _, _, problems = read_all("yolo", put(files))
    assert [(problem.code, problem.message) for problem in problems] == [
        ("class_list_doubtful", f"nc is {count}, and 2 names are given; used the names")
    ]


def test_yolo_classes_keypoints_are_stated_by_a_yaml_without_names_too(put, read_all) -> None:
    files = {"a.jpg": None, "a.txt": f"{LINE.strip()} 0.1 0.1 1 0.9 0.9 1", "classes.txt": "cat"}
    _, images, problems = read_all("yolo", put(files | {"data.yaml": "kpt_shape: [2, 3]"}))
    assert problems == []
    assert images["a.jpg"].objects[0].box == (12, 24, 36, 40)

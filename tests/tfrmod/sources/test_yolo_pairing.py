import pytest

from tfrmod.sources.yolo_pairing import paired


def pair(images: list[str], texts: list[str], different: bool = True):
    return paired(images, texts, is_label=lambda path: "note" not in path, are_equal=lambda *_: not different)


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("a.jpg", "a.txt"),
        ("a.jpg", "a.jpg.txt"),
        ("images/a.jpg", "labels/a.txt"),
        ("images/train/a.jpg", "labels/train/a.txt"),
        ("train_images/a.jpg", "train_labels/a.txt"),
        ("camA/images_rgb/a.jpg", "camA/labels_rgb/a.txt"),
        ("frames/camA/a.jpg", "labels/camA/a.txt"),
        ("camA/frames/a.jpg", "camA/txt/a.txt"),
        ("camA/a.jpg", "camA/txt/a.txt"),
        ("images/A.JPG", "labels/a.txt"),
        ("images/cafe\u0301.jpg", "labels/caf\u00e9.txt"),
        ("images of it/my photo.jpg", "elsewhere/my%20photo.txt"),
    ],
)
def test_yolo_pairing_label_file_is_found_beside_others_of_its_name(image: str, label: str) -> None:
    """The same layout once more, under other names, must not confuse."""
    others = [("other/x/b.jpg", "other/x/b.txt")]
    found = pair([image, *(one for one, _ in others)], [label, *(text for _, text in others)])
    assert found.labels == {image: label, **dict(others)}
    assert (found.doubtful, found.left) == ({}, [])


def test_yolo_pairing_equal_names_in_many_folders_are_told_apart_by_their_folders() -> None:
    cameras = ["camA", "camB", "camC"]
    images = [f"frames/{camera}/{number}.jpg" for camera in cameras for number in range(3)]
    texts = [f"labels/{camera}/{number}.txt" for camera in cameras for number in range(3)]
    assert pair(images, texts).labels == dict(zip(images, texts, strict=True))


@pytest.mark.parametrize(
    ("images", "texts"),
    [
        (["camA/0.jpg", "camB/0.jpg"], ["labels/0.txt"]),
        (["images/rgb/0.jpg", "images/ir/0.jpg"], ["labels/0.txt"]),
        (["a/0.jpg"], ["x/0.txt", "y/0.txt"]),
        (["frames/camA/0.jpg", "frames/camB/0.jpg"], ["labels/left/0.txt", "labels/right/0.txt"]),
        (["images/0.jpg"], ["labels/0.txt", "images/0.txt"]),
        (["images/IMG_0.jpg", "images/img_0.jpg"], ["labels/Img_0.txt"]),
    ],
)
def test_yolo_pairing_several_that_fit_equally_well_are_left_out(images: list[str], texts: list[str]) -> None:
    found = pair(images, texts)
    assert (found.labels, sorted(found.doubtful), found.left) == ({}, sorted(images), [])
    assert {text for fitting in found.doubtful.values() for text in fitting} == set(texts)


def test_yolo_pairing_capitals_count_where_both_spellings_are_there() -> None:
    found = pair(["IMG_0.jpg", "img_0.jpg"], ["img_0.txt"])
    assert found.labels == {"img_0.jpg": "img_0.txt"}
    assert found.doubtful == {"IMG_0.jpg": ("img_0.txt",)}


def test_yolo_pairing_two_label_files_that_say_the_same_are_no_doubt() -> None:
    assert pair(["images/0.jpg"], ["labels/0.txt", "images/0.txt"], different=False).labels == {
        "images/0.jpg": "labels/0.txt"
    }


def test_yolo_pairing_preview_does_not_take_a_label_file_of_an_older_version() -> None:
    found = pair(["images/0.jpg", "previews/0.jpg"], ["labels/0.txt", "backup/0.txt"])
    assert found.labels == {"images/0.jpg": "labels/0.txt"}
    assert list(found.doubtful) == ["previews/0.jpg"]


def test_yolo_pairing_notes_are_no_labels() -> None:
    found = pair(["a/0.jpg", "a/note.jpg"], ["a/0.txt", "b/note.txt"])
    assert (list(found.labels), found.doubtful, found.left) == (["a/0.jpg"], {}, [])

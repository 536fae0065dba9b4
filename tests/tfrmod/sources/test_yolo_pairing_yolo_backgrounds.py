import io

import numpy as np
import pytest
from PIL import Image

LINE = "0 0.5 0.5 0.25 0.5\n"


def picture(seed: int, size: tuple[int, int] = (64, 48), kind: str = "JPEG") -> bytes:
    blocks = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(blocks).resize(size).save(buffer, kind)
    return buffer.getvalue()


LABELLED = {
    **{f"images/train/{number}.jpg": picture(number) for number in range(3)},
    **{f"labels/train/{number}.txt": LINE for number in range(3)},
}
FLAT = {"0.jpg": picture(0), "0.txt": LINE}


def left_out(problems) -> list[str]:
    return [problem.file for problem in problems if problem.code == "image_without_annotation"]


@pytest.mark.parametrize(
    ("files", "stray"),
    [
        (LABELLED, "previews/0.jpg"),
        (LABELLED, "runs/detect/exp/7.jpg"),
        (LABELLED, "cover.png"),
        (LABELLED, "images/train/train_batch0.jpg"),
        (LABELLED, "images/test/9.jpg"),
        (LABELLED, "images/copies/0.jpg"),
        (FLAT, "results.png"),
        (FLAT, "BoxPR_curve.png"),
        (FLAT, "runs/exp/val_batch1_pred.jpg"),
        (FLAT, "thumbnails/0.jpg"),
    ],
)
def test_yolo_pairing_yolo_backgrounds_image_that_may_not_be_of_the_dataset_teaches_no_background(
    put, read_all, files, stray: str
) -> None:
    """images/copies/0.jpg shows the same as images/train/0.jpg; nothing in images/test has a label file."""
    _, images, problems = read_all("yolo", put(files | {stray: picture(0, (32, 24))}))
    assert stray not in images
    assert left_out(problems) == [stray]


@pytest.mark.parametrize(
    "background", ["images/train/9.jpg", "images/empty/0.jpg", "images/9.jpg", "images/train/more/9.jpg"]
)
def test_yolo_pairing_yolo_backgrounds_image_without_labels_among_labelled_ones_is_a_background(
    put, read_all, background: str
) -> None:
    _, images, problems = read_all("yolo", put(LABELLED | {background: picture(9)}))
    assert images[background].objects == ()
    assert [(problem.code, problem.file) for problem in problems] == [("image_unlabelled", background)]


def test_yolo_pairing_yolo_backgrounds_one_lost_label_file_does_not_cost_many_backgrounds(put, read_all) -> None:
    files = {f"images/train/b{number}.jpg": picture(100 + number) for number in range(11)}
    _, images, problems = read_all("yolo", put(LABELLED | files | {"labels/train/lost.txt": LINE}))
    assert len(images) == 14
    assert left_out(problems) == []


def test_yolo_pairing_yolo_backgrounds_copies_of_one_name_share_their_label_file_which_is_reported(
    put, read_all
) -> None:
    files = {"images/a.jpg": picture(0), "images/a.png": picture(0, (128, 96), "PNG"), "labels/a.txt": LINE}
    _, images, problems = read_all("yolo", put(files))
    assert [len(image.objects) for image in images.values()] == [1, 1]
    assert [problem.code for problem in problems] == ["label_shared"] * 2


def test_yolo_pairing_yolo_backgrounds_different_images_of_one_name_and_one_label_file_are_left_out(
    put, read_all
) -> None:
    files = LABELLED | {"images/a.jpg": picture(7), "images/a.png": picture(8, kind="PNG"), "labels/a.txt": LINE}
    _, images, problems = read_all("yolo", put(files))
    assert len(images) == 3
    assert [(problem.code, problem.file) for problem in problems] == [
        ("image_ambiguous", "images/a.jpg"),
        ("image_ambiguous", "images/a.png"),
    ]


def test_yolo_pairing_yolo_backgrounds_cameras_with_equal_names_and_one_label_file_are_left_out(put, read_all) -> None:
    files = LABELLED | {"camA/7.jpg": picture(7), "camB/7.jpg": picture(8), "7.txt": LINE}
    _, images, problems = read_all("yolo", put(files))
    assert len(images) == 3
    assert [(problem.code, problem.file) for problem in problems] == [
        ("image_ambiguous", "camA/7.jpg"),
        ("image_ambiguous", "camB/7.jpg"),
    ]
    assert problems[0].message == "fits 7.txt"

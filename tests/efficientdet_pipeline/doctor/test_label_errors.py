"""Loss spikes with their images; labels on which detector and annotation disagree."""

import numpy as np
import pytest

from efficientdet_pipeline.doctor.label_errors import (
    LabeledPrediction,
    find_label_errors,
    label_issues,
    loss_issues,
)

NAMES = {1: "cat", 2: "dog", 3: "elk"}
HERE, THERE, FAR = (10, 10, 50, 50), (60, 60, 90, 90), (10, 100, 40, 140)


def errors(file: str, truth: list = (), detected: list = (), crowds: list = ()) -> LabeledPrediction:
    """truth: (class id, box); detected: (class id, score, box)."""

    def boxes(rows: list) -> np.ndarray:
        return np.array(rows, float).reshape(-1, 4)

    return LabeledPrediction(
        file,
        boxes([box for _, box in truth]),
        np.array([class_id for class_id, _ in truth], int),
        boxes(crowds),
        boxes([box for _, _, box in detected]),
        np.array([score for _, score, _ in detected]),
        np.array([class_id for class_id, _, _ in detected], int),
    )


def right(count: int = 5) -> list[LabeledPrediction]:
    """Returns images on which the detector is correct, with scores around .6."""
    truth, found = [(1, HERE), (2, THERE)], [(1, 0.6, HERE), (2, 0.6, THERE)]
    return [errors(f"right{number}", truth, found) for number in range(count)]


def by_code(images: list[LabeledPrediction]) -> dict:
    return {each.code: each for each in label_issues(find_label_errors(images, NAMES)) if each is not None}


def test_label_errors_agreement_is_no_issue() -> None:
    assert by_code(right()) == {}
    assert by_code([]) == {}
    assert by_code([errors("nothing")]) == {}


def test_label_errors_confident_detection_of_nothing() -> None:
    missed = errors("missed", [(1, HERE)], [(1, 0.7, HERE), (2, 0.8, FAR), (2, 0.5, THERE)])
    found = by_code([*right(), missed])["found_without_truth"]
    assert (found.count, found.files) == (1, ("missed (dog, score 0.80 at 100 10 140 40)",))


def test_label_errors_what_is_in_a_crowd_is_neither_right_nor_wrong() -> None:
    crowd = errors("crowd", [], [(2, 0.9, FAR)], crowds=[(0, 80, 60, 150)])
    assert by_code([*right(), crowd]) == {}


def test_label_errors_object_that_is_taken_for_another_class() -> None:
    swapped = errors("swapped", [(1, HERE)], [(2, 0.8, HERE), (1, 0.1, HERE)])
    found = by_code([*right(), swapped])["truth_other_class"]
    assert found.files == ("swapped (cat, detected as dog 0.80 at 10 10 50 50)",)
    # Two annotated objects at one place are not a label error.
    both = errors("both", [(1, HERE), (2, HERE)], [(2, 0.8, HERE), (1, 0.1, HERE)])
    assert "truth_other_class" not in by_code([*right(), both])


def test_label_errors_object_that_is_never_found() -> None:
    found = by_code([*right(), errors("lost", [(1, FAR)], [(1, 0.04, FAR)])])["truth_never_found"]
    assert found.files == ("lost (cat, nearest IoU 0.00 at 100 10 140 40)",)


def test_label_errors_class_that_is_never_found_is_one_issue() -> None:
    found = by_code([*right(), *(errors(f"elk{number}", [(3, FAR)]) for number in range(4))])
    assert found["class_never_found"].values == {"classes": ["elk"]}
    assert "elk 0%" in found["class_never_found"].detail
    assert "truth_never_found" not in found


def rows(*losses: float) -> list[dict[str, str]]:
    return [
        {"epoch": str(number), "step": str(10 * number), "loss": str(loss)} for number, loss in enumerate(losses, 1)
    ]


def test_label_errors_steps_are_logged_with_the_images_of_their_batch() -> None:
    incidents = [
        {"step": 7, "epoch": 1, "kind": "spike", "loss": 90.0, "usual": 2.0},
        {"step": 8, "epoch": 1, "kind": "bad", "loss": None, "usual": None},
    ]
    issues = loss_issues(rows(2.0, 1.9), incidents, lambda step: [f"{step}a.jpg", f"{step}b.jpg"])
    found = {each.code: each for each in issues if each is not None}
    assert found["loss_spike"].files == ("7a.jpg (step 7)", "7b.jpg (step 7)")
    assert found["loss_spike"].detail == "step 7, epoch 1: 90 (usual 2)"
    assert (found["step_skipped"].count, found["step_skipped"].of) == (1, 20)
    assert found["step_skipped"].detail == "step 8, epoch 1: not finite"


@pytest.mark.parametrize(
    ("losses", "count"), [((3, 2, 1.9), 0), ((3, 2, 5, 2), 1), ((3, float("nan")), 1), ((3,), 0), ((), 0)]
)
def test_label_errors_epochs_that_jump(losses: tuple, count: int) -> None:
    found = [each for each in loss_issues(rows(*losses), [], lambda *_: []) if each is not None]
    assert sum(each.count for each in found) == count

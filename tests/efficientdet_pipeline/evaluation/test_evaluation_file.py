"""An evaluation file is read back bit-identically; damage is reported."""

from pathlib import Path

import numpy as np
import pytest

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.evaluation.evaluation_file import (
    SavedEvaluation,
    read_evaluation,
    saved_evaluation,
    write_evaluation,
)
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.inference.results import ImageDetections


def evaluation(*, exact: bool) -> SavedEvaluation:
    random = np.random.default_rng(0)
    truth, found = [], []
    for number in (7, 10, 9):
        corners = random.uniform(0, 500, (4, 2))
        boxes = np.concatenate([corners, corners + random.uniform(1, 99, (4, 2))], axis=1)
        boxes = boxes.astype(np.float32) if exact else boxes
        marks = np.array([True, False, False, True])
        truth.append(
            TruthImage(str(number), boxes, np.arange(1, 5), marks, file_name=f"é{number}.jpg", is_difficult=~marks)
        )
        found.append(
            ImageDetections(boxes + boxes.dtype.type(1), random.random(4), np.arange(1, 5), source_id=str(number))
        )
    facts = {"checkpoint": "best", "epoch": 3.0}
    return saved_evaluation((truth, found), {1: "a", 2: "b\0"}, shards=["v-0"], numbers=[2, 5, 6], facts=facts)


@pytest.mark.parametrize("exact", [True, False], ids=["32 bits", "64 bits"])
def test_read_evaluation_gives_back_every_bit(exact: bool, tmp_path: Path) -> None:
    written, path = evaluation(exact=exact), tmp_path / "report" / "evaluation.npz"
    write_evaluation(path, written)
    read = read_evaluation(path)
    for side in ("truth", "found"):
        for name, values in vars(getattr(written.instances, side)).items():
            np.testing.assert_array_equal(getattr(getattr(read.instances, side), name), values, strict=True)
    assert read.instances.source_ids == ("7", "9", "10")
    assert read.instances.class_ids == (1, 2, 3, 4)
    assert read.numbers == {"7": 2, "10": 5, "9": 6}
    assert (read.label_map, read.file_names, read.facts) == (written.label_map, written.file_names, written.facts)
    assert read.shards == (str(Path("v-0").absolute()),)
    before = path.read_bytes()
    write_evaluation(path, read)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"nothing", None], ids=["empty", "text", "cut"])
def test_read_evaluation_names_a_damaged_file(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "evaluation.npz"
    write_evaluation(path, evaluation(exact=True))
    path.write_bytes(path.read_bytes()[:400] if content is None else content)
    with pytest.raises(DataError, match=r"must hold an evaluation\. .*--mode=eval writes it"):
        read_evaluation(path)

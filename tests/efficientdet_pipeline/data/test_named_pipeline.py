"""Records with tfdet's schema through its pipeline, in an order determined by a seed."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from efficientdet_pipeline.data.named_pipeline import padded, pipeline
from efficientdet_pipeline.errors import MissingError, OptionsError
from tfrmod.round_robin_records import convert_dataset_to_tfrecord


@pytest.fixture
def records(tmp_path: Path) -> str:
    entries = []
    for number in range(6):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.full((20, 40, 3), 10 * number, np.uint8)).save(path)
        boxes = [[0, 0, 10, 20], [10, 20, 20, 40]][: number % 3]
        labels = [{"id": index, "name": str(index)} for index in range(len(boxes))]
        entries.append({"image_path": str(path), "bboxes": boxes, "labels": labels})
    convert_dataset_to_tfrecord(entries, 2, tmp_path / "records")
    return str(tmp_path / "records" / "*.tfrecord")


def test_pipeline_reads_records(records: str) -> None:
    samples = list(pipeline([{"name": "InputReadRecordFiles", "pattern_file": records}]).as_numpy_iterator())
    assert sorted(sample["id"].decode() for sample in samples) == [f"{number}.png" for number in range(6)]
    by_id = {sample["id"].decode(): sample for sample in samples}
    assert by_id["2.png"]["labels"].tolist() == [[0], [1]]
    np.testing.assert_allclose(by_id["2.png"]["bboxes"], [[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]])
    np.testing.assert_allclose(by_id["2.png"]["areas"], [200, 200])
    assert by_id["3.png"]["bboxes"].shape == (0, 4)
    assert by_id["2.png"]["image"].dtype == np.float32
    assert by_id["2.png"]["image"].max() == 20


def steps(records: str, **source: object) -> list[dict]:
    return [
        {"name": "InputReadRecordFiles", "pattern_file": records, **source},
        {"name": "RandomResizedCrop", "height": 16, "width": 16, "scale": (0.5, 1.0)},
        {"name": "Normalize", "p": 1.0},
        {"name": "KeepAndProcessBBox"},
    ]


def test_pipeline_is_a_function_of_its_seed(records: str) -> None:
    given = steps(records, shuffle=True)
    before = repr(given)
    first, second = ([sample["bboxes"] for sample in pipeline(given).as_numpy_iterator()] for _ in range(2))
    assert repr(given) == before
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    dataset = pipeline(given)
    epochs = [np.concatenate([sample["bboxes"] for sample in dataset.as_numpy_iterator()]) for _ in range(2)]
    assert epochs[0].shape != epochs[1].shape or np.abs(np.sort(epochs[0], 0) - np.sort(epochs[1], 0)).max() > 1e-3


def test_padded_batches_mark_padding_and_keep_the_rest(records: str) -> None:
    batches = list(padded(pipeline(steps(records)), 4).as_numpy_iterator())
    assert [len(batch["image"]) for batch in batches] == [4, 2]
    for batch in batches:
        is_padding = batch["mask"][..., 0] == 0
        assert (batch["labels"][..., 0][is_padding] == -1).all()
        assert (batch["labels"][..., 0][~is_padding] >= 0).all()
    assert len(list(padded(pipeline(steps(records)), 4, drop_remainder=True))) == 1


def test_pipeline_refuses(records: str, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="No file matches pattern_file"):
        pipeline([{"name": "InputReadRecordFiles", "pattern_file": str(tmp_path / "none*")}])
    with pytest.raises(OptionsError, match=r"Unknown name of first step 'resize'"):
        pipeline([{"name": "resize", "height": 3, "width": 3}])
    with pytest.raises(OptionsError, match="Received no steps"):
        pipeline([])
    with pytest.raises(OptionsError, match="Did you mean pattern_file"):
        pipeline([{"name": "InputReadRecordFiles", "pattern_files": records}])
    with pytest.raises(OptionsError, match=r"Unknown name of step 'crop'"):
        pipeline([*steps(records), {"name": "crop"}])

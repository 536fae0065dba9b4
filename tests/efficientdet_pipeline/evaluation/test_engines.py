"""Engines of COCO metrics are bit-identical."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.evaluation import engines
from efficientdet_pipeline.evaluation.engines import coco_arrays
from efficientdet_pipeline.evaluation.instances import Instances, flatten
from efficientdet_pipeline.evaluation.truth import TruthImage, read_truth
from efficientdet_pipeline.inference.results import ImageDetections


def assert_equal(instances: Instances) -> None:
    fast, reference = coco_arrays(instances, "hotcoco"), coco_arrays(instances, "pycocotools")
    np.testing.assert_array_equal(fast.precision, reference.precision)
    np.testing.assert_array_equal(fast.recall, reference.recall)


@pytest.mark.parametrize("seeds", [range(60), pytest.param(range(60, 1060), marks=pytest.mark.slow)], ids=len)
def test_engines_agree_on_drawn_cases(seeds: range, fuzzed: Callable[[int], Instances]) -> None:
    pytest.importorskip("hotcoco")
    for seed in seeds:
        assert_equal(fuzzed(seed))


def test_engines_agree_on_the_oracle(test_data: Path) -> None:
    pytest.importorskip("hotcoco")
    folder = test_data / "eval_oracle"
    images = read_truth(folder / "instances_val2014_100.json")
    rows = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    detected = []
    for image in images:
        own = [row for row in rows if str(row["image_id"]) == image.source_id]
        x, y, width, height = np.array([row["bbox"] for row in own]).reshape(-1, 4).T
        boxes = np.stack([y, x, y + height, x + width], axis=-1)
        scores, class_ids = np.array([row["score"] for row in own]), np.array([row["category_id"] for row in own])
        detected.append(ImageDetections(boxes, scores, class_ids, source_id=image.source_id))
    assert_equal(flatten(images, detected, {}))


@pytest.mark.parametrize("engine", ["hotcoco", "pycocotools"])
def test_engines_take_what_is_empty(engine: engines.Engine) -> None:
    pytest.importorskip(engine)
    nothing = np.zeros((0, 4)), np.zeros(0, int)
    empty = TruthImage("a", *nothing)
    for instances in (flatten([], [], {1: "cat"}), flatten([empty], [], {}), flatten([empty], [], {1: "cat"})):
        arrays = coco_arrays(instances, engine)
        assert arrays.precision.shape == (10, 101, len(instances.class_ids), 4, 3)
        assert (arrays.precision == -1).all()
        assert (arrays.recall == -1).all()


def test_engines_are_silent_about_detections_of_other_classes(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("hotcoco")
    box, one = np.array([[0.0, 0.0, 9.0, 9.0]]), np.ones(1)
    truth = [TruthImage("a", box, np.array([2]))]
    for class_ids in ([5], [2, 5]):
        count = len(class_ids)
        detected = [ImageDetections(box.repeat(count, 0), one.repeat(count), np.array(class_ids), "a")]
        assert_equal(flatten(truth, detected, {2: "cat"}))
    assert capfd.readouterr() == ("", "")


def test_auto_engine_falls_back_to_pycocotools(monkeypatch: pytest.MonkeyPatch) -> None:
    box = np.array([[0.0, 0.0, 9.0, 9.0]])
    sides = [TruthImage("a", box, np.array([1]))], [ImageDetections(box, np.array([0.5]), np.array([1]), source_id="a")]
    used = []
    reference = engines._ENGINES["pycocotools"]
    for name in ("hotcoco", "pycocotools"):
        monkeypatch.setitem(engines._ENGINES, name, lambda each, name=name: used.append(name) or reference(each))
    pytest.importorskip("hotcoco")
    coco_arrays(flatten(*sides, {}))
    # A non-finite box is left to the reference.
    broken = [ImageDetections(box * np.nan, np.array([0.5]), np.array([1]), source_id="a")]
    coco_arrays(flatten(sides[0], broken, {}))
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    coco_arrays(flatten(*sides, {}))
    assert used == ["hotcoco", "pycocotools", "pycocotools"]
    with pytest.raises(OptionsError, match="pip install hotcoco"):
        coco_arrays(flatten(*sides, {}), "hotcoco")


def test_engine_of_another_name_is_refused() -> None:
    with pytest.raises(OptionsError, match=r"engine must be one of auto, hotcoco, pycocotools\. Received 'rust'"):
        coco_arrays(flatten([], [], {}), "rust")  # type: ignore[arg-type]


def test_engines_import_nothing_before_they_are_used() -> None:
    assert "faster_coco_eval" not in sys.modules
    assert not {name for name in vars(engines) if name in {"hotcoco", "COCO", "COCOeval"}}

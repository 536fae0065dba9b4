"""Everything around the network gives google/automl's numbers.

golden/ops.json.gz and ops_more.json.gz were recorded by running google/automl
at 6a54c87 under TensorFlow 2.15.1 in float32 on a CPU; `provenance` in each
says so too. Random inputs are written as their recipe.
"""

import gzip
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from efficientdet import anchors as anchor_page
from efficientdet import boxes, losses, schedules
from efficientdet.assigners import assign_targets
from efficientdet.types import BACKGROUND, GroundTruth

RandomState = np.random.RandomState
GOLDEN = Path(__file__).parent / "golden"
OPS, MORE = (json.loads(gzip.decompress((GOLDEN / name).read_bytes())) for name in ("ops.json.gz", "ops_more.json.gz"))
MEAN_RGB, STDDEV_RGB = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def detector_config(image_size: int | list[int], **values: Any) -> SimpleNamespace:
    """Returns what the pages around the network read of a config, as D0 has it."""
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    anchors = {"min_level": 3, "max_level": 7, "num_scales": 3, "aspect_ratios": (1.0, 2.0, 0.5), "anchor_scale": 4.0}
    pixels = {"mean_rgb": MEAN_RGB, "stddev_rgb": STDDEV_RGB, "scale_range": False}
    return SimpleNamespace(**({"image_size": size} | anchors | pixels | values))


def to_numpy(tensor: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(tensor)


def compiled(function: Any) -> Any:
    """Returns the function as a training step runs it: traced, on either backend."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, autograph=False)


def assert_summary(values: Any, summary: dict[str, Any], relative: float = 1e-4) -> None:
    values = to_numpy(values)
    num_samples = len(summary["sample"])
    assert list(values.shape) == summary["shape"]
    sample = values.ravel()[:: max(1, values.size // num_samples)][:num_samples]
    np.testing.assert_allclose(sample, summary["sample"], rtol=relative, atol=1e-4)
    np.testing.assert_allclose(values.sum(dtype=np.float64), summary["sum"], rtol=relative, atol=1e-4)
    np.testing.assert_allclose(np.abs(values).sum(dtype=np.float64), summary["abssum"], rtol=relative, atol=1e-4)


@pytest.mark.parametrize("case", OPS["anchors"], ids=lambda case: str(case["args"][-1]))
def test_anchors(case: dict[str, Any]) -> None:
    names = ("min_level", "max_level", "num_scales", "aspect_ratios", "anchor_scale")
    config = detector_config(case["args"][5], **dict(zip(names, case["args"], strict=False)))
    assert_summary(anchor_page.anchor_boxes(config), case["boxes"], relative=1e-6)


def test_decode() -> None:
    anchors = anchor_page.anchor_boxes(detector_config(128))
    deltas = (0.5 * RandomState(13).standard_normal((len(anchors), 4))).astype(np.float32)
    assert_summary(boxes.decode_boxes(deltas, anchors), OPS["decode"]["boxes"])


@pytest.mark.parametrize("case", OPS["targets"] + MORE["targets"], ids=lambda case: case.get("case"))
def test_targets(case: dict[str, Any]) -> None:
    config = detector_config(case["image_size"])
    count = len(case["boxes"])
    # In a batch with an empty image, and with padding before and behind: neither may change anything.
    truth = GroundTruth(np.full((2, count + 3, 4), -1, np.float32), np.full((2, count + 3), -1, np.int32))
    truth.boxes[1, 1 : count + 1] = np.reshape(case["boxes"], (-1, 4))
    truth.class_ids[1, 1 : count + 1] = case["classes"]
    targets = compiled(assign_targets)(anchor_page.anchor_boxes(config), truth)

    assert to_numpy(targets.num_positives).tolist() == [0, case["num_positives"]]
    class_index, deltas = to_numpy(targets.class_index), to_numpy(targets.boxes)
    assert (class_index[0] == BACKGROUND).all()
    assert not deltas[0].any()
    start = 0
    for level, (height, width) in anchor_page.feature_sizes(config).items():
        end = start + height * width * 9
        at_level = class_index[1, start:end].reshape(height, width, 9)
        golden = case["class_targets"][str(level)]
        assert np.argwhere(at_level != BACKGROUND).tolist() == golden["positives"]
        assert at_level[at_level != BACKGROUND].tolist() == golden["positive_classes"]
        assert_summary(deltas[1, start:end].reshape(height, width, 36), case["box_targets"][str(level)])
        start = end
    assert start == class_index.shape[1]


@pytest.mark.parametrize("case", OPS["focal"]["cases"], ids=lambda case: f"gamma{case['gamma']}")
def test_focal_loss(case: dict[str, Any]) -> None:
    shape = (2, 8, 8, 9, 20)
    logits = RandomState(5).standard_normal(shape).astype(np.float32)
    is_positive = RandomState(6).uniform(size=shape) < 0.02
    # The recorded labels have several classes at an anchor; seen as anchors of one class they have at most one.
    class_index = np.where(is_positive, 0, BACKGROUND).astype(np.int32).reshape(-1)
    options = {name: case[name] for name in ("alpha", "gamma", "label_smoothing")}
    total = losses.focal_loss(logits.reshape(-1, 1), class_index, **options)
    np.testing.assert_allclose(to_numpy(total) / case["normalizer"], case["sum"], rtol=1e-4)


@pytest.mark.parametrize("case", OPS["box_huber"]["cases"], ids=lambda case: f"delta{case['delta']}")
def test_huber_box_loss(case: dict[str, Any]) -> None:
    shape = (2, 8, 8, 36)
    deltas = (0.3 * RandomState(7).standard_normal(shape)).astype(np.float32)
    targets = 0.3 * RandomState(8).standard_normal(shape)
    targets = np.where(RandomState(9).uniform(size=shape) < 0.1, targets, 0).astype(np.float32)
    deltas, targets = deltas.reshape(-1, 4), targets.reshape(-1, 4)
    total = losses.huber_box_loss(deltas, targets, targets != 0, delta=case["delta"])
    np.testing.assert_allclose(to_numpy(total) / (4 * case["num_positives"]), case["loss"], rtol=1e-4)


@pytest.mark.parametrize("kind", losses.IOU_LOSSES)
def test_iou_losses(kind: str) -> None:
    golden = OPS["iou_losses"]
    predicted, target = np.float32(golden["pred"]), np.float32(golden["target"])
    values = to_numpy(losses.iou_box_loss(predicted, target, kind=kind))
    np.testing.assert_allclose(values, golden["values"][kind], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("case", OPS["learning_rate"], ids=lambda case: f"{case['method']}-{case['batch_size']}")
def test_learning_rate(case: dict[str, Any]) -> None:
    values = {name: value for name, value in case.items() if name not in ("method", "steps", "values")}
    schedule = schedules.Schedule(lr_decay_method=case["method"], compat="automl", **values)
    rates = to_numpy(schedules.learning_rate_at(np.array(case["steps"]), schedule))
    np.testing.assert_allclose(rates, case["values"], rtol=1e-4)


@pytest.mark.parametrize(
    ("case", "seed"),
    [(case, 11) for case in OPS["preprocess"]] + [(case, 21) for case in MORE["preprocess"]],
    ids=lambda value: str(value["shape"]) if isinstance(value, dict) else "",
)
def test_preprocessing(case: dict[str, Any], seed: int) -> None:
    inputs = pytest.importorskip("efficientdet.preprocess", exc_type=ImportError)
    config = detector_config(case["output"])
    image = RandomState(seed).randint(0, 256, case["shape"]).astype(np.uint8)
    for fit in (inputs.fit_to_canvas, compiled(lambda image: inputs.fit_to_canvas(image, config))):
        canvas, scale = fit(image, config) if fit is inputs.fit_to_canvas else fit(image)
        assert np.float32(scale) == np.float32(case["image_scale_to_original"])
        assert_summary(np.asarray(canvas), case["result"])
    boxes_out = inputs.fit_boxes_to_canvas(np.float32(case["boxes_in_normalized"]), image.shape, config)
    np.testing.assert_allclose(boxes_out, case["boxes_out"], rtol=1e-4, atol=1e-4)


def head_outputs(
    seed: int, class_offset: float, num_classes: int, box_scale: float
) -> dict[str, dict[int, np.ndarray]]:
    """Returns the outputs of a network of 128 px, as both files' recipes write them."""
    random, sides = RandomState(seed), {3: 16, 4: 8, 5: 4, 6: 2, 7: 1}

    def pyramid(offset: float, scale: float, depth: int) -> dict[int, np.ndarray]:
        return {
            level: (offset + scale * random.standard_normal((2, side, side, depth))).astype(np.float32)
            for level, side in sides.items()
        }

    return {"class": pyramid(class_offset, 1.5, 9 * num_classes), "box": pyramid(0.0, box_scale, 36)}


@pytest.mark.parametrize(
    ("case", "outputs"),
    [(case, head_outputs(12, -4.0, 20, 0.3)) for case in OPS["postprocess"]["cases"]]
    + [(case, head_outputs(22, -2.5, 3, 0.1)) for case in MORE["postprocess"]["cases"]],
    ids=lambda value: f"{value['mode']}-{value['nms_configs']['method']}" if "mode" in value else "",
)
def test_postprocessing(case: dict[str, Any], outputs: dict[str, Any]) -> None:
    postprocess = pytest.importorskip("efficientdet.postprocess", exc_type=ImportError)
    config = detector_config(case["image_size"], num_classes=case["num_classes"], nms_configs={})
    found = postprocess.detections(
        config,
        outputs,
        np.float32(case["image_scales"]),
        mode=case["mode"],
        nms_configs=case["nms_configs"],
        compat="automl",
    )
    found = type(found)(*map(np.asarray, found))
    assert found.num_valid.tolist() == case["valid_len"]
    np.testing.assert_allclose(found.scores.sum(dtype=np.float64), case["score_sum"], rtol=1e-5)
    for image, num_valid in enumerate(found.num_valid):
        rows = slice(min(len(case["scores"][image]), num_valid))
        np.testing.assert_allclose(found.boxes[image][rows], case["boxes"][image][rows], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found.scores[image][rows], case["scores"][image][rows], rtol=1e-4)
        assert found.class_ids[image][rows].tolist() == case["classes"][image][rows]

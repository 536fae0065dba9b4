from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from efficientdet import postprocess
from efficientdet.anchors import anchor_boxes, feature_sizes
from efficientdet.boxes import encode_boxes
from efficientdet.config import DetectorConfig, get_config
from efficientdet.postprocess import clip_to_images, detections
from efficientdet.types import Detections
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

CONFIG = get_config("efficientdet-d0", image_size=128, num_classes=3)


def random_outputs(
    num_images: int = 2, config: DetectorConfig = CONFIG, seed: int = 0
) -> dict[str, dict[int, np.ndarray]]:
    random = np.random.RandomState(seed)

    def pyramid(offset: float, scale: float, depth: int) -> dict[int, np.ndarray]:
        return {
            level: (offset + scale * random.standard_normal((num_images, *size, depth))).astype(np.float32)
            for level, size in feature_sizes(config).items()
        }

    return {"class": pyramid(-4.0, 1.5, 9 * config.num_classes), "box": pyramid(0.0, 0.3, 36)}


def outputs_that_see(objects: list[tuple[list[float], int, float]]) -> dict[str, dict[int, np.ndarray]]:
    """Returns network outputs for the given (box, class id, logit) only."""
    anchors = anchor_boxes(CONFIG)
    logits = np.full((1, len(anchors), CONFIG.num_classes), -20, np.float32)
    deltas = np.zeros((1, len(anchors), 4), np.float32)
    for index, (box, class_id, logit) in enumerate(objects):
        anchor = 1000 + 9 * index
        logits[0, anchor, class_id - 1] = logit
        deltas[0, anchor] = encode_boxes(np.float32([box]), anchors[anchor : anchor + 1])[0]
    outputs, start = {"class": {}, "box": {}}, 0
    for level, (height, width) in feature_sizes(CONFIG).items():
        end = start + height * width * 9
        outputs["class"][level] = logits[:, start:end].reshape(1, height, width, -1)
        outputs["box"][level] = deltas[:, start:end].reshape(1, height, width, -1)
        start = end
    return outputs


@pytest.mark.parametrize("mode", postprocess.MODES)
def test_postprocess_detections_are_sorted_by_score(mode: str) -> None:
    objects = [([10.0, 20.0, 50.0, 90.0], 2, 1.0), ([64.0, 60.0, 120.0, 120.0], 3, 4.0)]
    found = detections(
        CONFIG, outputs_that_see(objects), np.float32([2.0]), mode=mode, nms_configs={"score_thresh": 0.1}
    )
    assert found.num_valid.numpy().tolist() == [2]
    assert found.class_ids[0, :2].numpy().tolist() == [3.0, 2.0]
    np.testing.assert_allclose(found.boxes[0, :2], [[128, 120, 240, 240], [20, 40, 100, 180]], atol=1e-2)
    np.testing.assert_allclose(found.scores[0, :2], 1 / (1 + np.exp([-4.0, -1.0])), rtol=1e-4)
    for values in found[:3]:
        assert not values.numpy()[0, 2:].any()
    assert [values.dtype for values in found] == [tf.float32] * 3 + [tf.int32]


def test_postprocess_default_is_automls_evaluation() -> None:
    outputs = random_outputs()
    explicit = {
        "method": "gaussian",
        "sigma": 0.5,
        "score_thresh": 0.001,
        "max_nms_inputs": 5000,
        "max_output_size": 100,
    }
    for default, named in zip(
        detections(CONFIG, outputs), detections(CONFIG, outputs, mode="per_class", nms_configs=explicit), strict=True
    ):
        np.testing.assert_array_equal(default, named)


def test_postprocess_number_of_inputs_comes_from_the_call_then_the_config_then_evaluation() -> None:
    outputs = random_outputs()
    configured = get_config("efficientdet-d0", image_size=128, num_classes=3, nms_configs={"max_nms_inputs": 20})

    def num_valid(config: DetectorConfig, **nms_configs: Any) -> int:
        return int(detections(config, outputs, nms_configs=nms_configs).num_valid[0])

    assert num_valid(CONFIG) == 100
    assert num_valid(configured) <= 20
    assert num_valid(configured, max_nms_inputs=5) <= 5
    assert num_valid(configured, max_nms_inputs=0) == 100


@pytest.mark.parametrize("max_pairs", [1, 50, 3068, 3069, 5000, 3 * 3069, 10**6])
def test_postprocess_best_pairs_are_found_and_never_more_than_there_are(max_pairs: int) -> None:
    # Rounded, so that many are equal: among those the first ones count.
    logits = np.random.RandomState(1).standard_normal((2, 3069, 3)).round(1).astype(np.float32)
    best, anchor, class_index = postprocess._top_pairs(tf.constant(logits), max_pairs, num_anchors=3069)
    count = min(max_pairs, 3 * 3069)
    assert best.shape == (2, count)
    for image in range(2):
        expected = np.argsort(-logits[image].ravel(), kind="stable")[:count]
        assert sorted(anchor[image].numpy() * 3 + class_index[image].numpy()) == sorted(expected)
        np.testing.assert_array_equal(best[image], logits[image, anchor[image], class_index[image]])


@pytest.mark.parametrize("mode", postprocess.MODES)
def test_postprocess_boxes_are_clipped_to_the_canvas(mode: str) -> None:
    found = detections(CONFIG, random_outputs(), np.float32([1.0, 3.0]), mode=mode)
    for image, edge in enumerate((128.0, 384.0)):
        boxes = found.boxes[image].numpy()
        assert boxes.min() >= 0
        assert boxes.max() <= edge
    original = detections(CONFIG, random_outputs(), mode="per_class", compat="automl").boxes.numpy()
    assert original.min() < 0


def test_postprocess_boxes_are_clipped_to_the_image() -> None:
    found = detections(CONFIG, random_outputs(), np.float32([1.0, 3.0]))
    clipped = clip_to_images(found, np.int32([[128, 64], [200, 384]]))
    for image, (height, width) in enumerate(((128, 64), (200, 384))):
        boxes = clipped.boxes[image].numpy()
        assert boxes[:, [0, 2]].max() <= height
        assert boxes[:, [1, 3]].max() <= width
    np.testing.assert_array_equal(clipped.scores, found.scores)


def test_postprocess_combined_heeds_the_overlap_unless_compatible() -> None:
    outputs = random_outputs()

    def score_sum(iou_thresh: float, compat: str | None) -> float:
        nms_configs = {"iou_thresh": iou_thresh}
        found = detections(CONFIG, outputs, mode="combined", nms_configs=nms_configs, compat=compat)
        return float(tf.reduce_sum(found.scores))

    assert score_sum(0.9, None) > score_sum(0.5, None) == score_sum(0.9, "automl")


def test_postprocess_images_of_a_batch_do_not_see_each_other() -> None:
    outputs = random_outputs(num_images=3)
    together = detections(CONFIG, outputs)
    for image in range(3):
        alone = {name: {level: value[image : image + 1] for level, value in p.items()} for name, p in outputs.items()}
        for both, single in zip(together, detections(CONFIG, alone), strict=True):
            np.testing.assert_allclose(both[image], single[0], rtol=1e-5, atol=1e-4)


def test_postprocess_one_class_and_half_precision() -> None:
    config = get_config("efficientdet-d0", image_size=128, num_classes=1)
    outputs = random_outputs(config=config)
    half = {name: {level: value.astype(np.float16) for level, value in p.items()} for name, p in outputs.items()}
    found, rounded = detections(config, outputs), detections(config, half)
    assert set(found.class_ids.numpy().ravel().tolist()) <= {0.0, 1.0}
    np.testing.assert_allclose(rounded.scores, found.scores, rtol=2e-2)


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_postprocess_extreme_outputs_give_finite_detections(logit: float) -> None:
    outputs = {name: {level: 0 * v + logit for level, v in p.items()} for name, p in random_outputs().items()}
    for values in detections(CONFIG, outputs):
        assert np.isfinite(values.numpy()).all()


def test_postprocess_unknown_modes_and_methods_are_refused() -> None:
    with pytest.raises(ValueError, match=r"per_class, global, combined. Received 'local'"):
        detections(CONFIG, random_outputs(), mode="local")
    with pytest.raises(ValueError, match=r"hard or gaussian. Received 'linear'"):
        detections(CONFIG, random_outputs(), nms_configs={"method": "linear"})


def traced(mode: str) -> tf.types.experimental.PolymorphicFunction:
    """Returns `detections` traced for any number of images, with the outputs of heads as a flat list."""
    sizes = feature_sizes(CONFIG)
    specs = [tf.TensorSpec((None, *size, depth)) for depth in (27, 36) for size in sizes.values()]

    @tf.function(input_signature=[*specs, tf.TensorSpec((None,))], autograph=False)
    def run(*inputs: Any) -> Detections:
        *maps, scales = inputs
        outputs = {
            "class": dict(zip(sizes, maps[: len(sizes)], strict=True)),
            "box": dict(zip(sizes, maps[len(sizes) :], strict=True)),
        }
        return detections(CONFIG, outputs, scales, mode=mode)

    return run


def flat_inputs(num_images: int) -> list[tf.Tensor]:
    outputs = random_outputs(num_images)
    scales = np.linspace(1, 2, num_images, dtype=np.float32)
    return [tf.constant(v) for v in (*outputs["class"].values(), *outputs["box"].values(), scales)]


@pytest.mark.parametrize("mode", postprocess.MODES)
def test_postprocess_one_graph_serves_any_number_of_images(mode: str) -> None:
    run = traced(mode)
    for num_images in (1, 3):
        *maps, scales = flat_inputs(num_images)
        pyramids = {"class": maps[:5], "box": maps[5:]}
        outputs = {name: dict(enumerate(pyramid, start=3)) for name, pyramid in pyramids.items()}
        for graph, eager in zip(run(*maps, scales), detections(CONFIG, outputs, scales, mode=mode), strict=True):
            np.testing.assert_allclose(graph, eager, rtol=1e-5, atol=1e-4)
    assert run.experimental_get_tracing_count() == 1
    shapes = run.get_concrete_function().output_shapes
    assert [shape.as_list() for shape in shapes] == [[None, 100, 4], [None, 100], [None, 100], [None]]


@pytest.mark.parametrize("mode", postprocess.MODES)
def test_postprocess_frozen_graph_runs_in_a_plain_session(mode: str) -> None:
    run = traced(mode)
    frozen = convert_variables_to_constants_v2(run.get_concrete_function())
    inputs = flat_inputs(2)
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(frozen.graph.as_graph_def(), name="")
        with tf.compat.v1.Session(graph=graph) as session:
            feed = {tensor.name: value.numpy() for tensor, value in zip(frozen.inputs, inputs, strict=True)}
            received = session.run([tensor.name for tensor in frozen.outputs], feed)
    for expected, value in zip(run(*inputs), received, strict=True):
        np.testing.assert_allclose(expected, value, rtol=1e-5, atol=1e-4)

"""Tests of parallel cells against separate paths."""

import keras
import numpy as np
import pytest
from efficientdet.config import get_config
from efficientdet.necks.fpn_graphs import parallel, parallel_rows
from efficientdet.necks.neck import Cell, Neck
from efficientdet.necks.parallel_cell import ParallelCell
from keras import ops

SHAPES = {3: (2, 12, 10, 5), 4: (2, 6, 5, 8), 5: (2, 3, 3, 12), 6: (2, 2, 2, 8), 7: (2, 1, 1, 8)}


def built_cells(**hparams: object) -> tuple[Cell, ParallelCell]:
    config = get_config("efficientdet-d0", fpn_num_filters=8, **hparams)
    keras.utils.set_random_seed(1)
    by_path, at_once = Cell(config), ParallelCell(config)
    random = np.random.RandomState(0)
    for cell in (by_path, at_once):
        cell.build(SHAPES)
    for weight in by_path.weights:
        low, high = (0.5, 1.5) if weight.name == "moving_variance" else (-0.2, 1.0)
        weight.assign(random.uniform(low, high, weight.shape).astype(np.float32))
    at_once.take_weights_of_nodes(by_path.nodes)
    return by_path, at_once


@pytest.mark.parametrize(
    "hparams",
    [
        {"fpn_name": "vfpn", "fpn_config": {"paths": 3}},
        {"fpn_name": "vfpn", "fpn_config": {"paths": 2, "input_edge": True, "weight_method": "attn"}},
        {"fpn_name": "vfpn", "fpn_config": {"paths": 2, "weight_method": "channel_fastattn"}},
        {"fpn_name": "vfpn", "fpn_config": {"paths": 2, "weight_method": "sum"}, "conv_after_downsample": True},
        {"fpn_name": "vfpn_alt", "fpn_config": {"paths": 3}, "separable_conv": False},
        {"fpn_name": "vfpn_split", "fpn_config": {"paths": 2}, "conv_bn_act_pattern": True},
        {"fpn_name": "vfpn_topdown", "fpn_config": {"paths": 2}, "apply_bn_for_resampling": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("training", [False, True])
def test_parallel_cell_equals_path_by_path(hparams: dict, training: bool) -> None:
    by_path, at_once = built_cells(**hparams)
    size = [sum(int(np.prod(weight.shape)) for weight in cell.trainable_weights) for cell in (by_path, at_once)]
    assert size[0] == size[1]
    random = np.random.RandomState(2)
    pyramid = {level: random.normal(size=shape).astype(np.float32) for level, shape in SHAPES.items()}
    expected, received = by_path(pyramid, training=training), at_once(pyramid, training=training)
    assert list(received) == list(expected)
    for level, values in expected.items():
        # Batch statistics of two numbers, in maps of one pixel, leave few digits.
        atol = 2e-3 if training and level == 7 else 3e-5
        np.testing.assert_allclose(
            ops.convert_to_numpy(received[level]), ops.convert_to_numpy(values), rtol=2e-4, atol=atol
        )


def test_parallel_cell_has_the_gradients_of_path_by_path() -> None:
    if keras.backend.backend() != "tensorflow":
        pytest.skip("gradients are compared with TensorFlow's tape")
    import tensorflow as tf

    by_path, at_once = built_cells(fpn_name="vfpn", fpn_config={"paths": 3})
    random = np.random.RandomState(2)
    # Larger than `SHAPES`: batch statistics of maps of one pixel leave few digits.
    sides = {3: (24, 20), 4: (12, 10), 5: (6, 5), 6: (3, 3), 7: (2, 2)}
    shapes = {level: (4, *sides[level], shape[3]) for level, shape in SHAPES.items()}
    pyramid = {level: tf.constant(random.normal(size=shape), tf.float32) for level, shape in shapes.items()}
    weights = {level: tf.constant(random.normal(size=(*shape[:3], 8)), tf.float32) for level, shape in shapes.items()}
    gradients = []
    for cell in (by_path, at_once):
        row = cell.nodes if cell is by_path else cell.rows
        watched = [pyramid[3], pyramid[5], *(each.conv.bias for each in row), *(each.norm.gamma for each in row)]
        with tf.GradientTape() as tape:
            tape.watch([pyramid[3], pyramid[5]])
            outputs = cell(pyramid, training=True)
            loss = tf.add_n([tf.reduce_sum(outputs[level] * weights[level]) for level in outputs])
        gradients.append(tape.gradient(loss, [getattr(each, "value", each) for each in watched]))
    scale = float(tf.reduce_max(tf.abs(gradients[0][0])))
    for number in (0, 1):
        difference = np.abs(gradients[0][number] - gradients[1][number]).max()
        assert difference < 1e-4 * scale, (number, difference, scale)
    by_lane = [np.concatenate([gradients[0][2 + len(by_path.nodes) + index] for index in row.row.nodes])
               for row in at_once.rows]  # fmt: skip
    for wanted, found in zip(by_lane, gradients[1][2 + len(at_once.rows) :], strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())
    # A normalization cancels the bias before it.
    assert all(float(tf.reduce_max(tf.abs(bias))) == 0 for bias in gradients[1][2 : 2 + len(at_once.rows)])


def test_parallel_cell_draws_each_path_as_a_path_of_its_own() -> None:
    _, at_once = built_cells(fpn_name="vfpn", fpn_config={"paths": 4})
    config = get_config("efficientdet-d0", fpn_num_filters=8, fpn_name="vfpn", fpn_config={"paths": 4})
    fresh = ParallelCell(config)
    fresh.build(SHAPES)
    kernel = ops.convert_to_numpy(fresh.rows[0].conv.pointwise_kernel)
    # Glorot's bound for 8 and 8 channels; joined kernels would have a smaller one.
    assert 0.9 * np.sqrt(6 / 16) < np.abs(kernel).max() <= np.sqrt(6 / 16)
    assert np.abs(kernel[0] - kernel[1]).max() > 0.1
    assert len(at_once.rows) == 8 + 5


def test_parallel_rows_of_two_kinds_of_paths() -> None:
    graph = parallel(3, 5, ["bifpn", "inverted", "bifpn"], input_edge=True)
    rows = parallel_rows(graph, 3)
    assert [len(row.nodes) for row in rows] == [2] * 4 + [1] * 4 + [1] * 3
    assert sorted(index for row in rows for index in row.nodes) == list(range(len(graph)))
    assert all(row.num_inputs == len(graph[row.nodes[0]].inputs) for row in rows)
    assert rows[-1].edges[0] == (2, (0,))


def test_neck_with_paths_learns_and_has_names() -> None:
    from efficientdet.automl.variable_names import variable_names
    from efficientdet.model import build_model

    config = get_config("efficientdet-d0", image_size=64, num_classes=2, fpn_name="vfpn", fpn_config={"paths": 2})
    model = build_model(config)
    names = variable_names(model)
    assert len(names) == len(model.weights)
    assert names["fpn_cells/cell_0/row0/WSM"].shape == (2, 2)
    outputs = model(np.zeros((1, 64, 64, 3), np.float32), training=True)
    assert outputs["class"][3].shape == (1, 8, 8, 18)


def test_neck_takes_the_cell_that_its_graph_needs() -> None:
    config = get_config("efficientdet-d0", fpn_name="vfpn")
    assert isinstance(Neck(config).cells[0], ParallelCell)
    assert isinstance(Neck(get_config()).cells[0], Cell)

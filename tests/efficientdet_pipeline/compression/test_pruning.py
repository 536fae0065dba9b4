"""Pruning: tfmot's schedules and masks on Keras 3 variables, and a training that resumes with them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_network import tiny_network

from efficientdet_pipeline.compression.kernels import compressible_kernels, large_kernels, sparsity
from efficientdet_pipeline.compression.pruning import KeptZeros, MagnitudePruning, prune, pruning_schedule
from efficientdet_pipeline.compression.tfmot import import_tfmot
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.compression import PruneSpec


def dense(*shape: int) -> keras.Model:
    network = keras.Sequential([keras.Input((shape[0],)), keras.layers.Dense(shape[1], name="dense")], name="net")
    network.layers[0].kernel.assign(np.random.default_rng(0).standard_normal(shape))
    return network


def kernel_of(network: keras.Model) -> np.ndarray:
    return np.asarray(network.layers[0].kernel.value)


def test_prune_zeroes_the_smallest_weights_of_each_kernel() -> None:
    network = tiny_network("efficientdet-d0")
    before = {kernel.name: np.array(kernel.variable.value) for kernel in compressible_kernels(network)}
    assert prune(network, PruneSpec(sparsity=0.75, pattern=".")) == pytest.approx(0.75, abs=0.003)
    for kernel in compressible_kernels(network):
        values, old = np.asarray(kernel.variable.value), before[kernel.name]
        kept = values != 0
        assert np.array_equal(values[kept], old[kept])
        assert np.abs(old[kept]).min() >= np.abs(old[~kept]).max()
    names = [kernel.name for kernel in compressible_kernels(network)]
    assert names[0] == "backbone/stem_conv/kernel"
    assert any("depthwise_kernel" in name for name in names)
    assert any("pointwise" in name for name in names)


def test_prune_leaves_two_of_four_input_channels() -> None:
    is_pruned_m_by_n = import_tfmot("sparsity.keras.pruning_utils").is_pruned_m_by_n
    network = tiny_network()
    prune(network, PruneSpec(sparsity_m_by_n=(2, 4), pattern="."))
    for kernel in compressible_kernels(network):
        if kernel.is_depthwise:
            assert sparsity(kernel) == 0
        else:
            assert is_pruned_m_by_n(kernel.variable.value, (2, 4))
            assert sparsity(kernel) >= 1 / 3


def test_prune_zeroes_blocks_of_matrices() -> None:
    network = dense(16, 8)
    prune(network, PruneSpec(block_size=(2, 4)))
    blocks = kernel_of(network).reshape(8, 2, 2, 4).transpose(0, 2, 1, 3).reshape(16, 8)
    assert sorted((block == 0).all() for block in blocks) == [False] * 8 + [True] * 8
    network = tiny_network()
    assert prune(network, PruneSpec(block_size=(1, 4))) == pytest.approx(0.5, abs=0.01)


def test_prune_matches_a_pattern_and_says_what_names_look_like() -> None:
    network = tiny_network()
    prune(network, PruneSpec(pattern="^neck/.*pointwise"))
    pruned = [kernel.name for kernel in compressible_kernels(network) if sparsity(kernel)]
    assert pruned == [f"neck/cell_0/node_{node}/conv/pointwise_kernel" for node in range(6)]
    with pytest.raises(OptionsError, match=r"Received 'nothing' \(--prune\); names look like backbone/stem_conv"):
        prune(network, PruneSpec(pattern="nothing"))


def test_prune_takes_the_zeros_of_all_weights_from_the_large_kernels() -> None:
    network = tiny_network()
    kernels = compressible_kernels(network)
    chosen = large_kernels(kernels)
    sizes = {each.name: int(np.prod(each.variable.shape)) for each in kernels if not each.is_depthwise}
    assert 0.9 <= sum(sizes[each.name] for each in chosen) / sum(sizes.values()) < 0.95
    names = {each.name for each in chosen}
    others = [each for each in kernels if each.name in sizes and each.name not in names]
    assert max(sizes[each.name] for each in others) <= min(sizes[name] for name in names)
    assert prune(network, PruneSpec(sparsity=0.5)) == pytest.approx(0.5, abs=0.003)
    assert all((sparsity(each) > 0.5) == (each.name in names) for each in kernels)
    assert sum(map(sparsity, others)) == 0


def test_prune_takes_every_kernel_where_the_large_ones_do_not_suffice() -> None:
    network = tiny_network()
    assert prune(network, PruneSpec(sparsity=0.9)) == pytest.approx(0.9, abs=0.003)
    assert all(sparsity(each) > 0.8 for each in compressible_kernels(network))


@pytest.mark.parametrize(
    ("spec", "at"),
    [
        (PruneSpec(), {0: 0.0, 20: 0.5, 21: 0.5}),
        (PruneSpec(begin_step=4, end_step=12, frequency=4, sparsity=0.6), {0: None, 4: 0.0, 6: None, 12: 0.6}),
        (PruneSpec(schedule="constant", sparsity=0.3, frequency=5), {0: 0.3, 3: None, 35: 0.3}),
    ],
)
def test_pruning_schedule_ends_at_the_final_sparsity(spec: PruneSpec, at: dict[int, float | None]) -> None:
    schedule = pruning_schedule(spec, 40)
    for step, wanted in at.items():
        is_due, value = schedule(tf.constant(step))
        if wanted is None:
            assert not bool(is_due)
        elif step <= 20:
            assert bool(is_due)
        if wanted is not None:
            assert float(value) == pytest.approx(wanted)


def test_magnitude_pruning_masks_weights_and_averages_while_training() -> None:
    network = dense(8, 8)
    shadow = keras.Variable(np.ones((8, 8), np.float32), name="average")
    path = network.layers[0].kernel.path
    pruning = MagnitudePruning(network, PruneSpec(end_step=4), num_steps=8, averages=lambda: {path: shadow})

    @tf.function
    def step(number: tf.Tensor) -> None:
        network.layers[0].kernel.assign_add(tf.random.stateless_normal((8, 8), tf.stack([number, 7])) * 0.1)
        pruning.update(number)

    seen = []
    for number in range(8):
        step(tf.constant(number))
        seen.append(float(np.mean(kernel_of(network) == 0)))
        assert np.array_equal(kernel_of(network) != 0, np.asarray(shadow.value) != 0)
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert seen[4:] == [0.5] * 4
    assert len(pruning.state) == 2
    assert float(pruning.thresholds[0].value) > 0
    assert np.array_equal(np.asarray(pruning.masks[0].value) != 0, kernel_of(network) != 0)


def test_kept_zeros_keeps_those_of_pruned_kernels_alone() -> None:
    network = dense(8, 8)
    assert np.asarray(KeptZeros(compressible_kernels(network)).masks[0].value).all()
    prune(network, PruneSpec())
    kept = KeptZeros(compressible_kernels(network))
    network.layers[0].kernel.assign_add(np.ones((8, 8)))
    kept.update(tf.constant(0))
    assert sparsity(compressible_kernels(network)[0]) == 0.5


@pytest.mark.parametrize(
    ("spec", "num_steps", "named"),
    [
        (PruneSpec(), 2, ""),
        (PruneSpec(), 1, "after step 1 (end_step), counted from 0, and the training has 1:"),
        (PruneSpec(end_step=50), 40, "after step 50 (end_step)"),
        (PruneSpec(begin_step=40), 40, "after step 41 (end_step)"),
        (PruneSpec(schedule="constant", begin_step=39), 40, ""),
        (PruneSpec(schedule="constant", begin_step=40), 40, "after step 40 (begin_step)"),
        (PruneSpec(sparsity_m_by_n=(2, 4)), 1, ""),
        (PruneSpec(sparsity_m_by_n=(2, 4), begin_step=1), 1, "after step 1 (begin_step)"),
    ],
)
def test_pruning_warns_where_the_training_ends_before_it(
    spec: PruneSpec, num_steps: int, named: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING", logger="absl"):
        pruning = MagnitudePruning(dense(40, 40), spec, num_steps=num_steps)
    assert [named in message for message in caplog.messages] == [True] * bool(named)
    for step in range(num_steps):
        pruning.update(tf.constant(step))
        if step + 1 == pruning.final_step:
            assert (sparsity(pruning.kernels[0]) == 0.5) == (not named)

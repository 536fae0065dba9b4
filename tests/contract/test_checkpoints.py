"""Checkpoints of google/automl load whole, and ours are laid out as its own.

golden/checkpoint_keys.json.gz and golden/net/ hold names and shapes that
google/automl (6a54c87, TensorFlow 2.15.1) gave its variables. Its two files
with values lie beside the test data, in `golden/ckpt`, and are too large to be
copied; their values are a function of the names (`filled`).
"""

import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import efficientdet
import h5py
import numpy as np
import pytest
import tensorflow as tf
from efficientdet.automl.hparams import MODELS

GOLDEN = Path(__file__).parent / "golden"
KEYS = json.loads(gzip.decompress((GOLDEN / "checkpoint_keys.json.gz").read_bytes()))
SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
AVERAGE = "/ExponentialMovingAverage"


def filled(name: str, shape: list[int] | tuple[int, ...]) -> np.ndarray:
    """Returns the values that the golden files have under a name; kernel_gain is 1.8."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    leaf = name.rsplit("/", 1)[-1]
    if leaf.endswith("kernel"):
        fan = shape[0] * shape[1] if leaf == "depthwise_kernel" else int(np.prod(shape[:-1]))
        values = random.standard_normal(shape) * np.sqrt(1.8 / max(fan, 1))
    elif leaf in ("bias", "beta", "moving_mean"):
        values = 0.1 * random.standard_normal(shape)
    elif leaf == "gamma":
        values = (1 + 0.1 * random.standard_normal(shape)) * np.where(random.uniform(size=shape) < 0.2, -1, 1)
    elif leaf == "moving_variance":
        values = random.uniform(0.5, 1.5, shape)
    else:
        values = random.uniform(-0.2, 1.1, shape)
    return np.asarray(values, "float32")


def marked(name: str, shape: list[int] | tuple[int, ...]) -> np.ndarray:
    """Returns values that no other name has; quicker than `filled`."""
    return np.full(shape, np.float32(zlib.crc32(name.encode()) % 9973) / 997)


def golden_variables(case: str) -> dict[str, list[int]]:
    return json.loads(gzip.decompress((GOLDEN / "net" / f"{case}.json.gz").read_bytes()))["variables"]


def write_bundle(prefix: Path, entries: Mapping[str, Any]) -> Path:
    names = sorted(entries)
    tensors = [tf.constant(entries[name]) for name in names]
    tf.raw_ops.SaveV2(prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors)
    return prefix


def write_tf1(prefix: Path, shapes: Mapping[str, list[int] | tuple[int, ...]]) -> Path:
    """Writes what automl's training writes: raw values, averages, slots of the optimizer, a step."""
    entries: dict[str, Any] = {"global_step": np.int64(1)}
    for name, shape in shapes.items():
        values = marked(name, shape)
        entries |= {name: values + 1, name + AVERAGE: values}
        if not name.endswith(("moving_mean", "moving_variance")):
            entries[f"{name}/Momentum"] = values + 2
    return write_bundle(prefix, entries)


def blank(model: Any) -> Any:
    for variable in efficientdet.variable_names(model).values():
        variable.assign(np.zeros(variable.shape, "float32"))
    return model


def assert_whole(report: Any, model: Any) -> None:
    assert set(report.loaded) == set(efficientdet.variable_names(model))
    assert (dict(report.skipped), report.missing, report.left_over) == ({}, (), ())


def assert_values(model: Any, expected: Any) -> None:
    for name, variable in efficientdet.variable_names(model).items():
        np.testing.assert_array_equal(variable.numpy(), expected(name, tuple(variable.shape)), err_msg=name)


@pytest.fixture(scope="module")
def d0() -> Any:
    return efficientdet.build_model(efficientdet.get_config("efficientdet-d0"))


@pytest.fixture(scope="module")
def d0_of_three_classes() -> Any:
    return efficientdet.build_model(efficientdet.get_config("efficientdet-d0", num_classes=3))


@pytest.fixture(scope="module")
def golden_checkpoints(test_data: Path) -> Path:
    folder = test_data.parent / "golden" / "ckpt"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: it holds files written by google/automl")
    return folder


@pytest.mark.parametrize("name", ["efficientdet-d0-tf2", "efficientdet-d0.h5"])
def test_a_file_of_automls_loads_to_the_bit(d0: Any, golden_checkpoints: Path, name: str) -> None:
    assert_whole(efficientdet.load_checkpoint(blank(d0), golden_checkpoints / name, skip_mismatch=False), d0)
    assert_values(d0, filled)


def test_our_h5_is_laid_out_as_automls(d0: Any, golden_checkpoints: Path, tmp_path: Path) -> None:
    efficientdet.load_checkpoint(d0, golden_checkpoints / "efficientdet-d0.h5")
    path = efficientdet.save_checkpoint(d0, tmp_path / "d0.h5", format="h5")
    with h5py.File(golden_checkpoints / "efficientdet-d0.h5") as theirs, h5py.File(path) as ours:
        assert list(ours.attrs["layer_names"]) == list(theirs.attrs["layer_names"])
        assert set(ours) == set(theirs)
        for group in theirs:
            assert list(ours[group].attrs["weight_names"]) == list(theirs[group].attrs["weight_names"])
            for name in theirs[group].attrs["weight_names"]:
                np.testing.assert_array_equal(ours[group][name][()], theirs[group][name][()])


def test_our_h5_has_the_datasets_of_automls(d0: Any, tmp_path: Path) -> None:
    found = {}
    with h5py.File(efficientdet.save_checkpoint(d0, tmp_path / "d0.h5", format="h5")) as file:
        file.visititems(lambda name, item: found.update({name: list(getattr(item, "shape", ["group"]))}))
    assert {name: shape for name, shape in found.items() if shape != ["group"]} == KEYS["h5"]


def test_weights_in_tf2_load_whole(d0: Any, tmp_path: Path) -> None:
    entries = {key: marked(key, shape) for key, shape in KEYS["tf2"].items() if key.endswith(SUFFIX)}
    write_bundle(tmp_path / "ckpt-1", entries | {"_CHECKPOINTABLE_OBJECT_GRAPH": b"graph"})
    assert_whole(efficientdet.load_checkpoint(blank(d0), tmp_path, skip_mismatch=False), d0)


def test_a_training_checkpoint_gives_its_weights_and_not_its_slots(d0_of_three_classes: Any, tmp_path: Path) -> None:
    # The weights of an emackpt are the averages already; slots are zero for frozen variables.
    def entry(key: str, shape: list[int]) -> np.ndarray:
        return np.full(shape, 9.0 if "OPTIMIZER_SLOT" in key or key.startswith("optimizer") else 2.0, "float32")

    entries = {key: entry(key, shape) for key, shape in KEYS["training"].items() if key.endswith(SUFFIX)}
    entries |= {f"optimizer/iter{SUFFIX}": np.int64(5), f"save_counter{SUFFIX}": np.int64(1)}
    write_bundle(tmp_path / "emackpt-5", entries | {"_CHECKPOINTABLE_OBJECT_GRAPH": b"graph"})
    report = efficientdet.load_checkpoint(blank(d0_of_three_classes), tmp_path / "emackpt-5", skip_mismatch=False)
    assert_whole(report, d0_of_three_classes)
    assert_values(d0_of_three_classes, lambda _, shape: np.full(shape, 2.0, "float32"))


def test_an_imagenet_checkpoint_fills_the_backbone(d0: Any, tmp_path: Path) -> None:
    shapes = {name: shape for name, shape in KEYS["backbone"].items() if name != "global_step"}
    report = efficientdet.load_checkpoint(blank(d0), write_tf1(tmp_path / "model.ckpt-109400", shapes))
    assert len(report.loaded) == report.num_averages == 304
    assert set(report.left_over) == {name for name in shapes if "/head/" in name}
    assert len(report.missing) == 709 - 304
    assert_values(d0, lambda name, shape: marked(name, shape) if name in shapes else np.zeros(shape, "float32"))


@pytest.mark.parametrize("case", ["d0", "d0_seg", "lite0"])
def test_a_tf1_checkpoint_loads_whole(case: str, tmp_path: Path) -> None:
    golden = json.loads(gzip.decompress((GOLDEN / "net" / f"{case}.json.gz").read_bytes()))
    config = efficientdet.get_config(golden["model"], num_classes=golden["num_classes"]).override(golden["overrides"])
    model = blank(efficientdet.build_model(config))
    write_tf1(tmp_path / "model", golden["variables"])
    report = efficientdet.load_checkpoint(model, tmp_path, skip_mismatch=False)
    assert_whole(report, model)
    assert report.num_averages == len(golden["variables"])
    assert_values(model, marked)


# Each is its model but for the size: neck, levels, naming and fusion are the model's own.
SMALLER = {"fpn_num_filters": 16, "fpn_cell_repeats": 2, "box_class_repeats": 2, "num_classes": 3}


@pytest.mark.parametrize("name", ["efficientdet-d7x", "efficientdet-lite3x"])
def test_a_smaller_sister_of_a_large_model_loads_whole(name: str, tmp_path: Path) -> None:
    backbone = "efficientnet-lite0" if "lite" in name else "efficientnet-b0"
    model = efficientdet.build_model(efficientdet.get_config(name, backbone_name=backbone, **SMALLER))
    names = {key: tuple(variable.shape) for key, variable in efficientdet.variable_names(model).items()}
    report = efficientdet.load_checkpoint(model, write_tf1(tmp_path / "model", names), skip_mismatch=False)
    assert_whole(report, model)
    assert_values(model, marked)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_loads_whole_from_tf1(name: str, tmp_path: Path) -> None:
    model = efficientdet.build_model(efficientdet.get_config(name))
    names = {key: tuple(variable.shape) for key, variable in efficientdet.variable_names(model).items()}
    assert {len(names)} == {len(model.weights)}
    report = efficientdet.load_checkpoint(model, write_tf1(tmp_path / "model", names), skip_mismatch=False)
    assert_whole(report, model)
    assert_values(model, marked)


def test_a_checkpoint_of_another_model_is_named(d0: Any, tmp_path: Path) -> None:
    before = {name: variable.numpy() for name, variable in efficientdet.variable_names(d0).items()}
    path = write_tf1(tmp_path / "model", golden_variables("d1"))
    with pytest.raises(
        efficientdet.CheckpointError, match=r"of efficientdet-d0\..*it looks like one of efficientdet-d1"
    ):
        efficientdet.load_checkpoint(d0, path)
    with pytest.raises(efficientdet.CheckpointError, match="it looks like one of efficientdet-lite0"):
        efficientdet.load_checkpoint(d0, write_tf1(tmp_path / "lite", golden_variables("lite0")))
    assert_values(d0, lambda name, _: before[name])

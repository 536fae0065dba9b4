"""Tests of loading into a small network: reports, errors, and unchanged weights after an error."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tensorflow as tf
from efficientdet.checkpoint import load_checkpoint, save_checkpoint, variable_names
from efficientdet.checkpoint.load import LoadReport
from efficientdet.checkpoint.tf_bundle import AVERAGE
from efficientdet.errors import CheckpointError

FORMATS = ("keras", "h5", "tf1")
FILE = {"keras": "model.weights.h5", "h5": "model.h5", "tf1": "model"}
CLASS_PREDICT = "class_net/class-predict"


def weights_of(model: Any) -> dict[str, np.ndarray]:
    return {name: variable.numpy() for name, variable in variable_names(model).items()}


def assert_weights(model: Any, expected: Mapping[str, np.ndarray]) -> None:
    for name, values in weights_of(model).items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)


def randomize(model: Any, seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    for variable in variable_names(model).values():
        variable.assign(generator.uniform(0.5, 1.5, tuple(variable.shape)).astype("float32"))
    return weights_of(model)


def write_bundle(prefix: Path, entries: Mapping[str, Any]) -> Path:
    names = sorted(entries)
    tensors = [tf.constant(entries[name]) for name in names]
    tf.raw_ops.SaveV2(prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors)
    return prefix


@pytest.fixture(scope="module")
def saved(small_model: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Returns the weights of a checkpoint, and files with them in all formats."""
    folder = tmp_path_factory.mktemp("saved")
    weights = randomize(small_model, seed=0)
    paths = {name: save_checkpoint(small_model, folder / name / FILE[name], format=name) for name in FORMATS}
    return {"weights": weights, **paths}


@pytest.fixture
def model(small_model: Any, saved: dict[str, Any]) -> Any:
    """Returns a model whose weights differ from the saved ones."""
    randomize(small_model, seed=1)
    return small_model


@pytest.mark.parametrize("kind", FORMATS)
def test_load_every_format_comes_back_to_the_bit(model: Any, saved: dict[str, Any], kind: str) -> None:
    report = load_checkpoint(model, saved[kind].parent, skip_mismatch=False)
    assert_weights(model, saved["weights"])
    assert set(report.loaded) == set(saved["weights"])
    assert (dict(report.skipped), report.missing, report.left_over) == ({}, (), ())
    assert (report.format, report.path) == ({"tf1": "TF1"}.get(kind, kind), saved[kind])


@pytest.mark.parametrize("kind", FORMATS)
def test_load_another_number_of_classes_skips_that_layer_alone(
    other_classes_model: Any, saved: dict[str, Any], kind: str
) -> None:
    before = randomize(other_classes_model, seed=2)
    report = load_checkpoint(other_classes_model, saved[kind])
    of_layer = {name for name in before if name.startswith(CLASS_PREDICT)}
    assert report.skipped == dict.fromkeys(report.skipped, "3 classes there, 5 here")
    assert set(report.skipped) == of_layer
    assert set(report.loaded) == set(before) - of_layer
    assert f"Skipped {CLASS_PREDICT} (3): 3 classes there, 5 here." in str(report)
    assert_weights(other_classes_model, {n: (before if n in of_layer else saved["weights"])[n] for n in before})


def test_load_mismatch_is_an_error_where_asked(other_classes_model: Any, saved: dict[str, Any]) -> None:
    before = weights_of(other_classes_model)
    with pytest.raises(
        CheckpointError, match=r"every variable of the model in its shape.*class-predict.*3 classes there, 5 here"
    ):
        load_checkpoint(other_classes_model, saved["keras"], skip_mismatch=False)
    assert_weights(other_classes_model, before)


def test_load_what_is_excluded_keeps_its_value(model: Any, saved: dict[str, Any]) -> None:
    before = weights_of(model)
    report = load_checkpoint(model, saved["tf1"], exclude="class_net|box_net")
    assert {name.split("/")[0] for name in report.skipped} == {"class_net", "box_net"}
    assert "excluded by 'class_net|box_net'" in str(report)
    assert not report.left_over
    assert_weights(model, {n: (before if n in report.skipped else saved["weights"])[n] for n in before})
    # From the start of the name, as automl matches: nothing starts so.
    assert len(load_checkpoint(model, saved["tf1"], exclude="class-predict").loaded) == len(before)


def test_load_exclusion_must_make_sense(model: Any, saved: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"regular expression.*'\(': missing \)"):
        load_checkpoint(model, saved["tf1"], exclude="(")
    with pytest.raises(CheckpointError, match="exclude must leave something"):
        load_checkpoint(model, saved["tf1"], exclude=".*")


def test_load_averages_are_taken_and_raw_values_where_there_are_none(
    model: Any, saved: dict[str, Any], tmp_path: Path
) -> None:
    weights = saved["weights"]
    entries = {name: values + 1 for name, values in weights.items()}
    entries |= {f"{name}/Momentum": values + 9 for name, values in weights.items()} | {"global_step": np.int64(7)}
    lonely = "resample_p6/bn/moving_mean"
    entries |= {name + AVERAGE: values for name, values in weights.items() if name != lonely}
    prefix = write_bundle(tmp_path / "model.ckpt-7", entries)

    report = load_checkpoint(model, tmp_path)
    assert report.num_averages == len(weights) - 1
    assert f"{len(weights) - 1} moving averages, the rest raw" in str(report)
    assert not report.left_over
    assert_weights(model, weights | {lonely: weights[lonely] + 1})

    report = load_checkpoint(model, prefix, use_average=False)
    assert "raw values" in str(report)
    assert_weights(model, {name: values + 1 for name, values in weights.items()})


def test_load_backbone_is_loaded_alone(model: Any, saved: dict[str, Any], tmp_path: Path) -> None:
    before = weights_of(model)
    backbone = {name: values for name, values in saved["weights"].items() if name.startswith("efficientnet-b0/")}
    head = {f"efficientnet-b0/head/dense/{leaf}": np.ones(3, "float32") for leaf in ("kernel", "bias")}
    report = load_checkpoint(model, write_bundle(tmp_path / "model", backbone | head))
    assert set(report.loaded) == set(backbone)
    assert set(report.missing) == set(before) - set(backbone)
    assert report.left_over == ("efficientnet-b0/head/dense/bias", "efficientnet-b0/head/dense/kernel")
    assert "Not used: efficientnet-b0/head (2); the classifier" in str(report)
    assert_weights(model, before | backbone)


def test_load_hub_module_is_read_by_its_spelling(model: Any, saved: dict[str, Any], tmp_path: Path) -> None:
    def key(name: str) -> str:
        for head, layer in (("class_net/class-predict/", "classes/"), ("box_net/box-predict/", "boxes/")):
            if name.startswith(head):
                return name.replace(head, layer)
        return "base_model/" + name.replace("/", ".S") + ":0"

    entries = {f"{key(name)}/.ATTRIBUTES/VARIABLE_VALUE": values for name, values in saved["weights"].items()}
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"")
    write_bundle(tmp_path / "variables" / "variables", entries | {"_CHECKPOINTABLE_OBJECT_GRAPH": b""})
    report = load_checkpoint(model, tmp_path, skip_mismatch=False)
    assert report.format == "TF2"
    assert_weights(model, saved["weights"])


# --- errors; the model is unchanged ---


def assert_refused(model: Any, path: Path, told: str) -> None:
    before = weights_of(model)
    with pytest.raises(CheckpointError, match=told):
        load_checkpoint(model, path)
    assert_weights(model, before)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_load_truncated_file(model: Any, saved: dict[str, Any], tmp_path: Path, kind: str, share: float) -> None:
    for path in saved[kind].parent.iterdir():
        content = path.read_bytes()
        is_cut = path.suffix.startswith((".data", ".h5"))
        (tmp_path / path.name).write_bytes(content[: int(len(content) * share)] if is_cut else content)
    assert_refused(model, tmp_path, "It is damaged or was copied in part")


@pytest.mark.parametrize("block_size", [2**20, 2**30, 2**45])
def test_load_checkpoint_refuses_an_index_with_a_false_block_size(
    model: Any, saved: dict[str, Any], tmp_path: Path, block_size: int
) -> None:
    for path in saved["tf1"].parent.iterdir():
        shutil.copy(path, tmp_path)
    index = tmp_path / f"{saved['tf1'].name}.index"
    content = bytearray(index.read_bytes())
    # The last 48 bytes: offset and size of two blocks as varints, padding, and eight bytes that mark the format.
    start = len(content) - 48
    for _ in range(3):
        while content[start] & 0x80:
            start += 1
        start += 1
    size = bytes(block_size >> 7 * place & 0x7F | (0x80 if place < 6 else 0) for place in range(7))
    content[start : start + 7] = size
    index.write_bytes(content)
    assert_refused(model, tmp_path / saved["tf1"].name, "must be a complete checkpoint")


def test_load_truncated_or_lonely_index(model: Any, saved: dict[str, Any], tmp_path: Path) -> None:
    index = Path(f"{saved['tf1']}.index").read_bytes()
    (tmp_path / "model.index").write_bytes(index)
    assert_refused(model, tmp_path / "model", "next to it must have")
    (tmp_path / "model.index").write_bytes(index[:-50])
    (tmp_path / "model.data-00000-of-00001").write_bytes(b"")
    assert_refused(model, tmp_path / "model", "damaged")


def test_load_path_that_tensorflow_takes_for_a_pattern(model: Any, saved: dict[str, Any], tmp_path: Path) -> None:
    folder = shutil.copytree(saved["tf1"].parent, tmp_path / "run [1]")
    assert_refused(model, folder, r"run \[1\]/model'; rename the folder")


def test_load_flipped_bit_in_a_bundle(model: Any, saved: dict[str, Any], tmp_path: Path) -> None:
    for path in saved["tf1"].parent.iterdir():
        content = bytearray(path.read_bytes())
        if ".data" in path.name:
            # In raw value and average alike.
            content[::1000] = bytes(byte ^ 1 for byte in content[::1000])
        (tmp_path / path.name).write_bytes(content)
    assert_refused(model, tmp_path, "damaged")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("kind", FORMATS)
def test_load_number_that_is_none(model: Any, tmp_path: Path, kind: str, value: float) -> None:
    variable = variable_names(model)["box_net/box-predict/bias"]
    broken = variable.numpy()
    broken[3] = value
    variable.assign(broken)
    path = save_checkpoint(model, tmp_path / FILE[kind], format=kind)
    randomize(model, seed=3)
    assert_refused(model, path, "must hold finite numbers.* 1 of 36 are not")


def link_away(file: h5py.File, tmp_path: Path) -> None:
    del file["box_net"]
    file["box_net"] = h5py.ExternalLink("elsewhere.h5", "/box_net")


def link_within(file: h5py.File, tmp_path: Path) -> None:
    del file["box_net/box_net/box-predict"]
    file["box_net/box_net/box-predict"] = h5py.SoftLink("/class_net/class_net/class-predict")


def store_away(file: h5py.File, tmp_path: Path) -> None:
    del file["box_net/box_net/box-predict/bias:0"]
    (tmp_path / "secret").write_bytes(bytes(36 * 4))
    external = [(str(tmp_path / "secret"), 0, 36 * 4)]
    file.create_dataset("box_net/box_net/box-predict/bias:0", (36,), "float32", external=external)


def make_virtual(file: h5py.File, tmp_path: Path) -> None:
    del file["box_net/box_net/box-predict/bias:0"]
    layout = h5py.VirtualLayout((36,), "float32")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "bias", (36,))
    file.create_virtual_dataset("box_net/box_net/box-predict/bias:0", layout)


@pytest.mark.parametrize("tamper", [link_away, link_within, store_away, make_virtual])
def test_load_file_that_leads_to_another(model: Any, saved: dict[str, Any], tmp_path: Path, tamper: Any) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(saved["h5"].read_bytes())
    with h5py.File(path, "a") as file:
        tamper(file, tmp_path)
    assert_refused(model, path, "must hold its weights itself.*such files are not opened")


def test_load_hdf5_of_something_else(model: Any, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["pictures"] = np.zeros(3)
    assert_refused(model, tmp_path / "a.h5", "something else: pictures")


def test_load_bundle_of_something_else(model: Any, tmp_path: Path) -> None:
    assert_refused(model, write_bundle(tmp_path / "model", {"dense/kernel": np.ones(3, "float32")}), "Nothing in it")


def test_load_another_backbone(model: Any, saved: dict[str, Any], tmp_path: Path) -> None:
    entries = {name.replace("efficientnet-b0/", "efficientnet-b1/"): v for name, v in saved["weights"].items()}
    path = write_bundle(tmp_path / "model", entries)
    assert_refused(model, path, "Of the [0-9]+ variables of the backbone, 0 fit")
    # The rest of it may still be wanted.
    report = load_checkpoint(model, path, exclude="efficientnet-")
    assert len(report.loaded) + len(report.skipped) == len(saved["weights"])


def test_load_backbone_with_more_in_it(model: Any, saved: dict[str, Any], tmp_path: Path) -> None:
    extra = {"efficientnet-b0/blocks_9/conv2d/kernel": np.ones((1, 1, 8, 8), "float32")}
    assert_refused(model, write_bundle(tmp_path / "model", saved["weights"] | extra), "has 1 additional variables")


def test_load_another_width_of_the_neck(small_config: Any, saved: dict[str, Any]) -> None:
    from efficientdet.model import build_model

    wider = build_model(small_config.override({"fpn_num_filters": 16}))
    for kind in FORMATS:
        assert_refused(wider, saved[kind], r"variables of the [a-z_]+, 0 fit")
    report = load_checkpoint(wider, saved["h5"], exclude="(?!efficientnet-)")
    assert all(name.startswith("efficientnet-b0/") for name in report.loaded)


def test_load_change_of_anchors_and_fusion_is_said_and_taken(small_config: Any, saved: dict[str, Any]) -> None:
    from efficientdet.model import build_model

    changed = build_model(small_config.override({"num_scales": 2, "fpn_weight_method": "sum"}))
    report = load_checkpoint(changed, saved["tf1"])
    assert {name.rsplit("/", 1)[0] for name in report.skipped} == {CLASS_PREDICT, "box_net/box-predict"}
    assert all("/WSM" in key for key in report.left_over)
    assert "the model has no such variables" in str(report)


def test_load_report_is_a_sentence_or_a_few() -> None:
    report = LoadReport(path=Path("d0/model"), format="TF1", loaded=("a/b", "a/c"), missing=("d/e/f",), num_averages=2)
    assert str(report) == (
        "Loaded 2 of 3 variables from d0/model (TF1, moving averages). Missing in it, and unchanged: d/e (1)."
    )

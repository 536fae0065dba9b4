from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tensorflow as tf
from efficientdet.checkpoint import save, save_checkpoint, variable_names
from efficientdet.checkpoint.hdf5 import dataset_keys
from efficientdet.checkpoint.tf_bundle import AVERAGE


def test_save_tf1_has_averages_a_step_and_a_state_file(small_model: Any, tmp_path: Path) -> None:
    prefix = save_checkpoint(small_model, tmp_path, format="tf1")
    assert prefix == tmp_path / "model"
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(prefix)
    reader = tf.train.load_checkpoint(str(prefix))
    names = variable_names(small_model)
    assert set(reader.get_variable_to_shape_map()) == {"global_step", *names, *(name + AVERAGE for name in names)}
    assert reader.get_tensor("global_step").dtype == np.int64
    for name, variable in names.items():
        for entry in (name, name + AVERAGE):
            np.testing.assert_array_equal(reader.get_tensor(entry), variable.numpy())


def test_save_h5_is_what_keras_2_writes(small_model: Any, tmp_path: Path) -> None:
    with h5py.File(save_checkpoint(small_model, tmp_path / "d0.h5", format="h5")) as file:
        assert list(file.attrs["layer_names"]) == [
            *("efficientnet-b0", "resample_p6", "resample_p7", "fpn_cells", "class_net", "box_net")
        ]
        for name, variable in variable_names(small_model).items():
            np.testing.assert_array_equal(file[name.split("/")[0]][f"{name}:0"][()], variable.numpy())
            assert f"{name}:0" in file[name.split("/")[0]].attrs["weight_names"]


def test_save_keras_gives_each_variable_a_place(small_model: Any, tmp_path: Path) -> None:
    path = save_checkpoint(small_model, tmp_path)
    assert path.name == "model.weights.h5"
    keys = dataset_keys(small_model)
    assert set(keys) == set(variable_names(small_model))
    with h5py.File(path) as file:
        for name, variable in variable_names(small_model).items():
            np.testing.assert_array_equal(file[keys[name]][()], variable.numpy())
    # The layers are saved by Keras again.
    assert not any("save_own_variables" in vars(layer) for layer in small_model._flatten_layers())


@pytest.mark.parametrize("kind", ["keras", "h5", "tf1"])
def test_save_write_that_fails_leaves_what_was_there(
    small_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = save_checkpoint(small_model, tmp_path, format=kind)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def write_half(model: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setitem(save._WRITERS, kind, write_half)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(small_model, path, format=kind)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_save_checkpoint_is_written_over_an_older_one(small_model: Any, tmp_path: Path) -> None:
    for kind in ("keras", "h5", "tf1"):
        save_checkpoint(small_model, tmp_path / kind / save._DEFAULT_NAME[kind], format=kind)
        files = sorted(file.name for file in (tmp_path / kind).iterdir())
        save_checkpoint(small_model, tmp_path / kind, format=kind)
        assert sorted(file.name for file in (tmp_path / kind).iterdir()) == files


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [("a.h5", "pickle", "keras, h5, tf1"), ("a.h5", "keras", r"end in \.weights\.h5"), ("a", "h5", r"end in \.h5")],
)
def test_save_format_or_name_that_does_not_go(
    small_model: Any, tmp_path: Path, name: str, kind: str, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        save_checkpoint(small_model, tmp_path / name, format=kind)
    assert not list(tmp_path.iterdir())

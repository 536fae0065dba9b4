"""Files that describe weights and exports, and which paths are exports."""

from pathlib import Path

import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.models.description import is_export, read_description, refuse_export


def test_is_export_knows_folders_and_files(tmp_path: Path) -> None:
    (tmp_path / "export/saved_model").mkdir(parents=True)
    (tmp_path / "export/saved_model/saved_model.pb").touch()
    for name in ("export", "export/saved_model", "export/saved_model/saved_model.pb", "x.tflite", "x.ONNX", "x.xml"):
        assert is_export(tmp_path / name)
        with pytest.raises(
            OptionsError, match=r"path_ckpt must name a run or .* an export; name it by --saved_model_d"
        ):
            refuse_export(tmp_path / name)
    for name in (".", "model.weights.h5", "ckpt-1"):
        assert not is_export(tmp_path / name)
        refuse_export(tmp_path / name)
    # google/automl's trainer leaves its checkpoints and a SavedModel in one folder.
    (tmp_path / "export/ckpt-1.index").touch()
    refuse_export(tmp_path / "export")


def test_read_description_needs_a_known_network(tmp_path: Path) -> None:
    place = tmp_path / "hparams_config.yaml"
    place.write_text(
        "name: efficientdet-d0\nnum_classes: 2\nbatch_size: 8\nlabel_map: {1: no, 2: b}\n", encoding="utf-8"
    )
    config, label_map = read_description(place)
    assert (config.name, config.num_classes, label_map) == ("efficientdet-d0", 2, {1: "no", 2: "b"})
    for text in ("num_classes: 2\n", "name: other\n", "- x\n"):
        place.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=r"None|other|must hold"):
            read_description(place)

"""A published export has the SavedModel at its root, replaces an earlier copy, and no unrelated files."""

from pathlib import Path

import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.export.publish import publish_export


@pytest.fixture
def export(tmp_path: Path) -> Path:
    folder = tmp_path / "export"
    (folder / "saved_model" / "variables").mkdir(parents=True)
    for name in ("saved_model/saved_model.pb", "saved_model/variables/variables.index", "label_map.yaml", "d0.tflite"):
        (folder / name).write_text(name)
    return folder


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_publish_export_puts_the_saved_model_at_the_root(export: Path, tmp_path: Path) -> None:
    publish_export(export, tmp_path / "model")
    expected = {"saved_model.pb", "variables/variables.index", "label_map.yaml", "d0.tflite"}
    assert names(tmp_path / "model") == {*expected, ".efficientdet-files.json"}
    assert (tmp_path / "model" / "saved_model.pb").read_text() == "saved_model/saved_model.pb"


def test_publish_export_replaces_an_earlier_copy(export: Path, tmp_path: Path) -> None:
    publish_export(export, tmp_path / "model")
    (export / "saved_model" / "saved_model.pb").write_text("newer")
    publish_export(export, tmp_path / "model")
    assert (tmp_path / "model" / "saved_model.pb").read_text() == "newer"


def test_publish_export_leaves_files_of_others(export: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "label_map.yaml").write_text("mine")
    with pytest.raises(OptionsError, match=r"publish_dir must be a folder without unrelated files.*label_map\.yaml"):
        publish_export(export, tmp_path / "model")
    assert names(tmp_path / "model") == {"label_map.yaml"}


def test_publish_export_has_no_marker_while_it_is_not_whole(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_export(export, tmp_path / "model")

    def fail(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr("shutil.copyfile", fail)
    with pytest.raises(OSError, match="No space"):
        publish_export(export, tmp_path / "model")
    assert not (tmp_path / "model" / "saved_model.pb").exists()

"""Files that an export may replace."""

from pathlib import Path

import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.export.earlier import check_replaceable, earlier_files

NAMES = {"saved_model", "efficientdet-d0_frozen.pb", "label_map.yaml", "hparams_config.yaml"}


def put(folder: Path, *names: str, text: str = "x") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def earlier(folder: Path, model: str = "efficientdet-d0") -> None:
    put(folder, "saved_model/saved_model.pb", f"{model}_frozen.pb", "label_map.yaml")
    put(folder, "hparams_config.yaml", text=f"label_map:\n  1: cat\nname: {model}\n")


def test_nothing_empty_or_an_earlier_export_may_be_replaced(tmp_path: Path) -> None:
    check_replaceable(tmp_path / "nothing", NAMES)
    (tmp_path / "saved_model").mkdir()
    check_replaceable(tmp_path, NAMES)
    earlier(tmp_path)
    put(tmp_path, "notes.txt")
    check_replaceable(tmp_path, NAMES)
    assert earlier_files(tmp_path) == NAMES


def test_the_files_of_another_models_export_are_known(tmp_path: Path) -> None:
    earlier(tmp_path, "efficientdet-lite0")
    check_replaceable(tmp_path, NAMES)
    assert "efficientdet-lite0_frozen.pb" in earlier_files(tmp_path)


@pytest.mark.parametrize("missing", ["saved_model/saved_model.pb", "efficientdet-d0_frozen.pb", "label_map.yaml"])
def test_an_export_that_a_kill_of_an_earlier_version_left_in_parts_may_be_replaced(
    tmp_path: Path, missing: str
) -> None:
    earlier(tmp_path)
    (tmp_path / missing).unlink()
    check_replaceable(tmp_path, NAMES)


@pytest.mark.parametrize(
    "name",
    ["label_map.yaml", "hparams_config.yaml", "efficientdet-d0_frozen.pb", "saved_model/saved_model.pb", "saved_model"],
)
def test_a_file_that_no_export_wrote_is_kept(tmp_path: Path, name: str) -> None:
    put(tmp_path, name)
    with pytest.raises(OptionsError, match=rf"{Path(name).parts[0]} must not exist, or be part of an earlier export"):
        check_replaceable(tmp_path, NAMES)


def test_a_folder_within_an_export_that_is_no_saved_model_is_kept(tmp_path: Path) -> None:
    earlier(tmp_path)
    (tmp_path / "saved_model/saved_model.pb").unlink()
    put(tmp_path, "saved_model/thesis.txt")
    with pytest.raises(OptionsError, match="saved_model must not exist"):
        check_replaceable(tmp_path, NAMES)


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    put(tmp_path, "export")
    with pytest.raises(OptionsError, match="path_output must be a folder"):
        check_replaceable(tmp_path / "export", NAMES)

"""Output files whose names are known only when they are written."""

from pathlib import Path

import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.runs.growing_output import GrowingOutput


def write(folder: Path, *names: str, is_interrupted: bool = False) -> None:
    output = GrowingOutput(option="out")
    for name in names:
        output.add(folder, [name])
        (folder / name).write_text(name)
    if not is_interrupted:
        output.close(folder)


def test_growing_output_replaces_the_files_of_a_finished_and_of_an_interrupted_call(tmp_path: Path) -> None:
    folder = tmp_path / "crops"
    for is_interrupted in (False, True):
        write(folder, "a", "b", "c", is_interrupted=is_interrupted)
        journal = next(folder.glob("*.jsonl"), None)
        assert (journal is not None) == is_interrupted
        if journal is not None:
            journal.write_text(journal.read_text() + '"half of a li')
        write(folder, "b", "d")
        assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == {"b", "d"}


def test_growing_output_refuses_unrelated_files(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("mine")
    with pytest.raises(OptionsError, match="contains b, not written by an earlier call"):
        write(tmp_path, "a", "b", is_interrupted=True)
    assert (tmp_path / "b").read_text() == "mine"

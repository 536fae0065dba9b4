"""Location of a run, and of its files."""

import os
from pathlib import Path

import pytest

from efficientdet_pipeline.errors import MissingError
from efficientdet_pipeline.options.general import RunOptions
from efficientdet_pipeline.runs.run_dir import find_run, run_folder


def begun(workspace: Path, name: str, *, seconds: int = 0) -> Path:
    folder = workspace / name
    folder.mkdir(parents=True)
    (folder / "args.yaml").write_text("{}\n")
    os.utime(folder / "args.yaml", (seconds, seconds))
    return folder


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({}, "runs/automatic"),
        ({"run_name": "mine"}, "runs/mine"),
        ({"workspace": "my runs", "run_name": "猫"}, "my runs/猫"),
        ({"model_dir": "elsewhere"}, "elsewhere"),
        ({"model_dir": "elsewhere", "model_ckpts": "root"}, "elsewhere"),
        ({"model_ckpts": "root"}, "root/model"),
    ],
)
def test_options_name_the_folder(given: dict[str, str], path: str) -> None:
    assert run_folder(RunOptions(**given), "automatic").path == Path(path)


def test_everything_of_a_run_is_in_its_folder() -> None:
    folder = run_folder(RunOptions(run_name="mine"), "")
    places = [folder.args, folder.metadata, folder.best, folder.last, folder.tensorboard, folder.results]
    places += [folder.metrics, folder.pictures, folder.log, folder.manifest, folder.export_path]
    assert [place.relative_to("runs/mine").as_posix() for place in places] == [
        *("args.yaml", "metadata.json", "checkpoints/best", "checkpoints/last", "tensorboard", "results.csv"),
        *("metrics.json", "pictures", "log.txt", "tfrecords/manifest.json", "export"),
    ]


def test_old_options_lead_parts_of_it_elsewhere() -> None:
    folder = run_folder(RunOptions(model_ckpts="root"), "", path_metadata="meta")
    assert (folder.path, folder.export_path) == (Path("root/model"), Path("root/freeze_model"))
    assert folder.metadata == Path("meta/metadata.json")
    folder = run_folder(RunOptions(model_ckpts="root"), "", path_output="out")
    assert folder.export_path == Path("out")
    assert run_folder(RunOptions(), "", output_path="shards").records_path == Path("shards")


def test_the_run_named_is_found(tmp_path: Path) -> None:
    folder = begun(tmp_path, "mine")
    assert find_run(RunOptions(workspace=str(tmp_path), run_name="mine")).path == folder
    assert find_run(RunOptions(model_dir=str(folder))).path == folder


def test_the_latest_run_is_found(tmp_path: Path) -> None:
    begun(tmp_path, "a", seconds=20)
    latest = begun(tmp_path, "b", seconds=30)
    begun(tmp_path, "c", seconds=10)
    (tmp_path / "no run").mkdir()
    assert find_run(RunOptions(workspace=str(tmp_path))).path == latest


def test_a_missing_run_is_reported_with_those_that_are_there(tmp_path: Path) -> None:
    begun(tmp_path, "b")
    begun(tmp_path, "a")
    with pytest.raises(MissingError, match=r"The run .*mine does not exist\. Runs in .*: a, b\. Check --model_dir"):
        find_run(RunOptions(workspace=str(tmp_path), run_name="mine"))
    with pytest.raises(MissingError, match=r"Runs in .*: none\."):
        find_run(RunOptions(workspace=str(tmp_path / "empty"), run_name="mine"))
    for trained, other in ((True, "a checkpoint by --path_ckpt"), (False, "shards by --file_pattern")):
        words = rf"The workspace .*empty.* contains no run.*python3 main\.py @params\.config`, or name {other} or"
        with pytest.raises(MissingError, match=words):
            find_run(RunOptions(workspace=str(tmp_path / "empty")), trained=trained)

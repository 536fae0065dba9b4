"""A run never replaces or deletes a file that this program did not write."""

import os
import shutil
from pathlib import Path

import pytest

from efficientdet_pipeline.errors import DataError, OptionsError
from efficientdet_pipeline.options.general import RunOptions
from efficientdet_pipeline.runs import ownership
from efficientdet_pipeline.runs.ownership import MARKER, held, is_run
from efficientdet_pipeline.runs.run_dir import RunFolder, run_folder

OUR_ARGS = "# Every option of this run.\nmode: traineval\nworkspace: runs\nrun_name: ''\nmodel_dir: ''\n"
OF_A_RUN = (
    *(
        "args.yaml",
        "metadata.json",
        "log.txt",
        "results.csv",
        "results.csv.damaged",
        "results.png",
        "incidents.jsonl",
        "bad_steps.json",
    ),
    *("results.csv.damaged", "metrics.json", "metrics_holdout.json", "pictures/doctor.png", "pictures/validation.png"),
    *(".metadata.json.partial-1234abcd", ".export.partial-99/new/label_map.yaml", ".tfrecords.lock"),
    *("checkpoints/last/model.weights.h5", "checkpoints/last.previous2/state.npz"),
    *("checkpoints/.best.new/checkpoint.json", "checkpoints/last.damaged/hparams_config.yaml"),
    *("tensorboard/train/events.out.tfevents.1.host.v2", "tensorboard/plugins/profile/2026/host.xplane.pb"),
    *("export/saved_model/variables/variables.index", "export/efficientdet-d0_frozen.pb", "export/label_map.yaml"),
    *(
        "export/hparams_config.yaml",
        "export/.DS_Store",
        "checkpoints/best/metrics_eval.json",
        "tfrecords/train-00000-of-00002.tfrecord",
    ),
    *("tfrecords/val.txt", "tfrecords/manifest.json", "tfrecords/problems.jsonl", "tfrecords/hparams_config.yaml"),
    *("thresholds.yaml", "label_errors.csv", "label_errors.jpg", "labels.jpg", "train_batch0.jpg", "pr_curve.png"),
    *("report/index.html", "report/evaluation.npz", "report/findings.json", "evaluations/test/confusion_matrix.png"),
    *("evaluations/test/report/index.html", "evaluations/test/metrics.json", "evaluations/test/thresholds.yaml"),
    *("tfrecords/.conversion/entries/x", "cache/photos-0123456789ab.raw"),
    *("cache-1/.photos-0123456789ab.raw.partial", "cache/.photos-0123456789ab.raw.partial-12-0123abcd"),
)
FOREIGN = (
    *("thesis.txt", "weights/best.pt", "sub/", ".hidden", "checkpoints/notes.txt", "checkpoints/last/mine.h5"),
    *("checkpoints/last_copy/model.weights.h5", "tfrecords/hand_made.tfrecord", "tfrecords/.notes"),
    *("report/mine.html", "evaluations/notes.txt", "evaluations/test/notes.txt"),
    *("export/README.md", "pictures/holiday.jpg", "tensorboard/notes.md", "cache/precious.bin"),
)


def folder_at(path: Path, **options: str) -> RunFolder:
    return run_folder(RunOptions(model_dir=str(path)), "", **options)


def put(folder: Path, *names: str, text: str = "x") -> None:
    for name in names:
        path = folder / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_text(text)


def contents(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()} - {".lock"}


def begin(path: Path, *, overwrite: bool = False, **options: str) -> None:
    with held(folder_at(path, **options), overwrite=overwrite):
        pass


def test_overwrite_removes_all_that_a_run_makes(tmp_path: Path) -> None:
    begin(tmp_path / "run")
    put(tmp_path / "run", *OF_A_RUN)
    begin(tmp_path / "run", overwrite=True)
    assert contents(tmp_path / "run") == {MARKER}


@pytest.mark.parametrize("name", FOREIGN)
def test_overwrite_keeps_a_run_that_holds_anything_else(tmp_path: Path, name: str) -> None:
    begin(tmp_path)
    put(tmp_path, *OF_A_RUN, name)
    before = contents(tmp_path)
    with pytest.raises(OptionsError, match=r"overwrite deletes only files of a run\. .* also contains ") as told:
        begin(tmp_path, overwrite=True)
    assert Path(name).parts[0] in str(told.value)
    assert told.value.option == "overwrite"
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "files",
    [
        {"args.yaml": "task: detect\nmode: train\nmodel: yolo.pt\n", "results.csv": "epoch", "results.png": "x"},
        {"args.yaml": OUR_ARGS},
        {"args.yaml": "task: detect\n", "metadata.json": '{"mode": "train", "date": "today"}'},
        {"thesis.txt": "x"},
        {MARKER: ""},
        {MARKER: "[]", "args.yaml": "x"},
    ],
    ids=["another trainer's run", "our args.yaml alone", "args.yaml of another", "notes", "empty marker", "no marker"],
)
def test_overwrite_refuses_a_folder_that_is_no_run(tmp_path: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        put(tmp_path, name, text=text)
    with pytest.raises(OptionsError, match="overwrite deletes a run of this program"):
        begin(tmp_path, overwrite=True)
    assert {name: (tmp_path / name).read_text() for name in contents(tmp_path)} == files


def test_overwrite_takes_a_new_folder(tmp_path: Path) -> None:
    begin(tmp_path / "new", overwrite=True)
    assert contents(tmp_path / "new") == {MARKER}


def test_overwrite_after_a_run_was_pointed_at_a_folder_of_other_files(tmp_path: Path) -> None:
    put(tmp_path, "thesis.txt", "sub/y")
    begin(tmp_path)
    put(tmp_path, "args.yaml", "log.txt")
    with pytest.raises(OptionsError, match=r"also contains sub/, thesis\.txt, which no run writes; move them"):
        begin(tmp_path, overwrite=True)
    assert {"thesis.txt", "sub/y", "args.yaml"} <= contents(tmp_path)


@pytest.mark.parametrize("name", ["args.yaml", "results.csv", "log.txt", "export/model.pb", "metrics.json", "cache/a"])
def test_a_run_is_not_begun_over_files_of_another_program(tmp_path: Path, name: str) -> None:
    put(tmp_path, name)
    with pytest.raises(OptionsError, match=rf"which contains {Path(name).parts[0]} from another program"):
        begin(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {Path(name).parts[0]}


def test_a_foreign_lock_file_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("of an editor")
    with pytest.raises(OptionsError, match=r"contains \.lock from another program"):
        begin(tmp_path)
    assert (tmp_path / ".lock").read_text() == "of an editor"


@pytest.mark.parametrize(
    "second", [{"metadata.json": '{"mode": "train", "date": "1/2/2026"}'}, {"log.txt": "2026-11-26 10:00:00 I Run x\n"}]
)
def test_a_run_from_before_the_marker_continues_and_can_be_overwritten(tmp_path: Path, second: dict[str, str]) -> None:
    put(tmp_path, "args.yaml", text=OUR_ARGS)
    for name, text in second.items():
        put(tmp_path, name, text=text)
    assert is_run(tmp_path)
    begin(tmp_path)
    assert (tmp_path / "args.yaml").read_text() == OUR_ARGS
    begin(tmp_path, overwrite=True)
    assert contents(tmp_path) == {MARKER}


def test_a_killed_overwrite_leaves_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(tmp_path)
    put(tmp_path, *OF_A_RUN)
    deleted: list[Path] = []
    remove = shutil.rmtree

    def killed(path: Path, **options: object) -> None:
        if len(deleted) == 2:
            raise KeyboardInterrupt
        deleted.append(path)
        remove(path, **options)

    monkeypatch.setattr(ownership.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        ownership.empty_folder(tmp_path)
    assert is_run(tmp_path)


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    put(tmp_path / "disk", "manifest.json", "mine.txt")
    begin(tmp_path / "run")
    (tmp_path / "run" / "tfrecords").symlink_to(tmp_path / "disk")
    (tmp_path / "link").symlink_to(tmp_path / "run")
    begin(tmp_path / "link", overwrite=True)
    assert contents(tmp_path / "disk") == {"manifest.json", "mine.txt"}
    assert contents(tmp_path / "run") == {MARKER}


def test_a_metadata_file_of_another_program_is_not_replaced(tmp_path: Path) -> None:
    put(tmp_path / "meta", "metadata.json", text='{"title": "mine"}')
    with pytest.raises(OptionsError, match=r"path_metadata must be a folder without a metadata\.json of another"):
        begin(tmp_path / "run", path_metadata=str(tmp_path / "meta"))
    put(tmp_path / "meta", "metadata.json", text='{"mode": "train", "date": "1/2/2026"}')
    begin(tmp_path / "run", path_metadata=str(tmp_path / "meta"))


def test_leftovers_of_killed_processes_are_cleared_at_the_next_start(tmp_path: Path) -> None:
    dead, alive = 999999999, os.getppid()
    begin(tmp_path)
    names = ("{}.metadata.json.partial-{}-0123abcd", "pictures/{}.validation.png.partial-{}-01234567")
    left = [name.format("", dead) for name in names] + [f".export.partial-{dead}/new/label_map.yaml"]
    kept = [name.format("", alive) for name in names] + [f".export.partial-{alive}/new/label_map.yaml"]
    put(tmp_path, *left, *kept, ".tfrecords.lock", ".export.lock")
    begin(tmp_path)
    assert contents(tmp_path) == {MARKER, *kept}


def fail(folder: RunFolder, error: BaseException, *, makes: bool) -> None:
    """Starts a command in a folder, and ends it with an error."""
    with held(folder, overwrite=False):
        folder.log.write_text("what was said")
        folder.records_path.mkdir(exist_ok=True)
        if makes:
            folder.manifest.write_text("{}")
        raise error


@pytest.mark.parametrize(
    ("error", "stays"), [(DataError("bad"), False), (KeyboardInterrupt(), True), (OSError(), True)]
)
def test_a_command_that_fails_leaves_no_new_folder(tmp_path: Path, error: BaseException, stays: bool) -> None:
    folder = RunFolder(tmp_path / "new", tmp_path / "e", tmp_path / "new" / "tfrecords", tmp_path / "new")
    with pytest.raises(type(error)):
        fail(folder, error, makes=False)
    assert folder.path.exists() is stays


def test_a_command_that_fails_leaves_what_was_made(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "new", tmp_path / "e", tmp_path / "new" / "tfrecords", tmp_path / "new")
    for makes in (True, False):
        with pytest.raises(DataError):
            fail(folder, DataError("bad"), makes=makes)
        assert folder.manifest.exists()

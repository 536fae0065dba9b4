"""Checkpoint files are complete or absent, wherever the writer is killed."""

import errno
import json
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from efficientdet.errors import CheckpointError

from efficientdet_pipeline.errors import CannotWriteError
from efficientdet_pipeline.training import checkpoint_io


def write(directory: Path, step: int) -> None:
    writers = {
        checkpoint_io.WEIGHTS: lambda path: path.write_bytes(b"weights %d" % step),
        checkpoint_io.STATE: lambda path: path.write_bytes(b"state %d" % step),
    }
    checkpoint_io.write_checkpoint(directory, writers, {"step": step})


def step_of(checkpoint: Path | None) -> int | None:
    return checkpoint_io.read_marker(checkpoint)["step"] if checkpoint else None


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints" / "last"


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.parent.iterdir()}


def test_find_checkpoint_without_any_is_none(directory: Path) -> None:
    assert checkpoint_io.find_checkpoint(directory) is None


def test_has_checkpoint_leaves_one_that_is_being_written(directory: Path) -> None:
    assert not checkpoint_io.has_checkpoint(directory)
    fresh = directory.with_name(".last.new")
    fresh.mkdir(parents=True)
    (fresh / checkpoint_io.WEIGHTS).write_bytes(b"wei")
    assert not checkpoint_io.has_checkpoint(directory)
    assert names(directory) == {".last.new"}
    write(directory, 1)
    assert checkpoint_io.has_checkpoint(directory)
    os.replace(directory, fresh)
    assert checkpoint_io.has_checkpoint(directory)


def test_write_checkpoint_is_found_with_its_marker(directory: Path) -> None:
    write(directory, 1)
    assert checkpoint_io.find_checkpoint(directory) == directory
    assert (directory / checkpoint_io.WEIGHTS).read_bytes() == b"weights 1"
    assert checkpoint_io.read_marker(directory)["step"] == 1
    assert checkpoint_io.checkpoint_fault(directory) is None


def test_write_checkpoint_keeps_the_previous_one(directory: Path) -> None:
    for step in (1, 2, 3):
        write(directory, step)
    assert names(directory) == {"last", "last.previous"}
    assert step_of(directory) == 3
    assert step_of(directory.with_name("last.previous")) == 2


def test_write_checkpoint_killed_while_writing_keeps_the_previous_one(directory: Path) -> None:
    write(directory, 1)
    half = directory.with_name(".last.new")
    half.mkdir()
    (half / checkpoint_io.WEIGHTS).write_bytes(b"wei")
    assert step_of(checkpoint_io.find_checkpoint(directory)) == 1
    assert names(directory) == {"last"}


def test_write_checkpoint_killed_before_the_first_rename_is_complete(directory: Path) -> None:
    for step in (1, 2, 3):
        write(directory, step)
    # The state at that time: 1 is previous, 2 in place, and 3 complete under its temporary name.
    os.replace(directory, directory.with_name(".last.new"))
    os.replace(directory.with_name("last.previous"), directory)
    assert step_of(checkpoint_io.find_checkpoint(directory)) == 3
    assert names(directory) == {"last", "last.previous"}
    assert step_of(directory.with_name("last.previous")) == 2


def test_write_checkpoint_killed_between_renames_is_complete(directory: Path) -> None:
    for step in (1, 2):
        write(directory, step)
    os.replace(directory, directory.with_name(".last.new"))
    assert checkpoint_io.find_checkpoint(directory) == directory
    assert step_of(directory) == 2
    assert names(directory) == {"last", "last.previous"}


def test_write_checkpoint_clears_remains_of_a_kill(directory: Path) -> None:
    half = directory.with_name(".last.new")
    half.mkdir(parents=True)
    (half / "rest").write_bytes(b"")
    write(directory, 1)
    assert names(directory) == {"last"}
    assert not (directory / "rest").exists()


def damage(directory: Path, how: str) -> None:
    weights, marker = directory / checkpoint_io.WEIGHTS, directory / checkpoint_io.MARKER
    if how == "cut":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif how == "flipped":
        weights.write_bytes(b"weights X")
    elif how == "deleted":
        weights.unlink()
    elif how == "no marker":
        marker.unlink()
    elif how == "cut marker":
        marker.write_text(marker.read_text()[:-20])
    elif how == "a file in its place":
        shutil.rmtree(directory)
        directory.write_text("")
    else:
        marker.write_text(how)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("cut", "model.weights.h5 has changed since it was written"),
        ("flipped", "model.weights.h5 has changed since it was written"),
        ("deleted", "model.weights.h5 is missing"),
        ("no marker", "it has no marker, because writing was interrupted"),
        ("cut marker", "its marker cannot be read"),
        ("[]", "its marker cannot be read"),
        ('{"files": 3}', "its marker cannot be read"),
        ('{"files": {"x": 3}}', "its marker cannot be read"),
        ("a file in its place", "it has no marker"),
    ],
)
def test_find_checkpoint_renames_a_damaged_one_and_uses_the_previous(
    directory: Path, how: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (1, 2):
        write(directory, step)
    damage(directory, how)
    with caplog.at_level(logging.WARNING):
        assert step_of(checkpoint_io.find_checkpoint(directory)) == 1
    assert names(directory) == {"last.previous", "last.damaged"}
    assert said in caplog.text
    assert "last.damaged" in caplog.text


def test_find_checkpoint_never_deletes_damaged_ones(directory: Path) -> None:
    for step in (1, 2):
        write(directory, step)
        damage(directory, "flipped")
        assert checkpoint_io.find_checkpoint(directory) is None
    assert names(directory) == {"last.damaged", "last.damaged2"}


def test_find_checkpoint_with_two_damaged_ones_is_none(directory: Path) -> None:
    for step in (1, 2):
        write(directory, step)
    damage(directory, "flipped")
    damage(directory.with_name("last.previous"), "flipped")
    assert checkpoint_io.find_checkpoint(directory) is None
    assert names(directory) == {"last.damaged", "last.previous.damaged"}


def test_write_checkpoint_on_a_full_disk_keeps_the_previous_one(directory: Path) -> None:
    write(directory, 1)

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with pytest.raises(OSError, match="No space left"):
        checkpoint_io.write_checkpoint(directory, {checkpoint_io.WEIGHTS: fail}, {"step": 2})
    assert names(directory) == {"last"}
    assert step_of(checkpoint_io.find_checkpoint(directory)) == 1


@pytest.mark.parametrize("kept", ["nothing", "an empty file", "half"])
def test_write_checkpoint_where_writes_are_lost_keeps_the_previous_one(
    directory: Path, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    write(directory, 1)
    sha256_of = checkpoint_io.sha256_of

    def lose(path: Path) -> str:
        found = sha256_of(path)
        if path.name == checkpoint_io.STATE and kept == "half":
            os.truncate(path, 3)
        return found

    def lose_state(path: Path) -> None:
        fsync(path)
        if path.name == checkpoint_io.STATE and kept == "nothing":
            path.unlink()
        if path.name == checkpoint_io.STATE and kept == "an empty file":
            os.truncate(path, 0)

    fsync = checkpoint_io._fsync
    monkeypatch.setattr(checkpoint_io, "sha256_of", lose)
    monkeypatch.setattr(checkpoint_io, "_fsync", lose_state)
    with pytest.raises(
        CannotWriteError, match=r"must keep what is written to it\. Received .*checkpoints, where state"
    ):
        write(directory, 2)
    monkeypatch.undo()
    assert step_of(checkpoint_io.find_checkpoint(directory)) == 1
    assert names(directory) == {"last"}


def test_write_checkpoint_marker_holds_size_and_hash_of_every_file(directory: Path) -> None:
    write(directory, 1)
    files = json.loads((directory / checkpoint_io.MARKER).read_text())["files"]
    assert set(files) == {checkpoint_io.WEIGHTS, checkpoint_io.STATE}
    assert files[checkpoint_io.STATE]["bytes"] == len(b"state 1")


def test_read_arrays_returns_arrays_by_name(tmp_path: Path) -> None:
    arrays = {"weight/a/kernel": np.arange(6.0).reshape(2, 3), "step": np.array(3)}
    checkpoint_io.write_arrays(tmp_path / "state.npz", arrays)
    read = checkpoint_io.read_arrays(tmp_path / "state.npz")
    assert read.keys() == arrays.keys()
    for name, value in arrays.items():
        np.testing.assert_array_equal(read[name], value)


@pytest.mark.parametrize("keep", [0, 10, -30])
def test_read_arrays_raises_on_a_damaged_file(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "state.npz"
    checkpoint_io.write_arrays(path, {"a": np.zeros(100)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"state\.npz must contain the arrays .*It is damaged"):
        checkpoint_io.read_arrays(path)

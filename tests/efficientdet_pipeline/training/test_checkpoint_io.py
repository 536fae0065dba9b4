"""A checkpoint is whole or not there, wherever the writer is killed and whatever happens to the files."""

import errno
import json
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from efficientdet.errors import CheckpointError

from efficientdet_pipeline.training import checkpoint_io


def write(place: Path, step: int) -> None:
    writers = {
        checkpoint_io.WEIGHTS: lambda path: path.write_bytes(b"weights %d" % step),
        checkpoint_io.STATE: lambda path: path.write_bytes(b"state %d" % step),
    }
    checkpoint_io.write_checkpoint(place, writers, {"step": step})


def step_of(checkpoint: Path | None) -> int | None:
    return checkpoint_io.read_marker(checkpoint)["step"] if checkpoint else None


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints" / "last"


def names(place: Path) -> set[str]:
    return {path.name for path in place.parent.iterdir()}


def test_nothing_is_found_where_nothing_was_written(place: Path) -> None:
    assert checkpoint_io.find_checkpoint(place) is None


def test_what_was_written_is_found_with_its_facts(place: Path) -> None:
    write(place, 1)
    assert checkpoint_io.find_checkpoint(place) == place
    assert (place / checkpoint_io.WEIGHTS).read_bytes() == b"weights 1"
    assert checkpoint_io.read_marker(place)["step"] == 1
    assert checkpoint_io.checkpoint_fault(place) is None


def test_the_one_before_is_kept_and_none_older(place: Path) -> None:
    for step in (1, 2, 3):
        write(place, step)
    assert names(place) == {"last", "last.previous"}
    assert step_of(place) == 3
    assert step_of(place.with_name("last.previous")) == 2


def test_a_kill_while_the_files_are_written_costs_the_new_one_alone(place: Path) -> None:
    write(place, 1)
    half = place.with_name(".last.new")
    half.mkdir()
    (half / checkpoint_io.WEIGHTS).write_bytes(b"wei")
    assert step_of(checkpoint_io.find_checkpoint(place)) == 1
    assert names(place) == {"last"}


def test_a_kill_before_the_first_rename_costs_nothing(place: Path) -> None:
    for step in (1, 2, 3):
        write(place, step)
    # As it was then: 1 is previous, 2 in place, and 3 whole under its working name.
    os.replace(place, place.with_name(".last.new"))
    os.replace(place.with_name("last.previous"), place)
    assert step_of(checkpoint_io.find_checkpoint(place)) == 3
    assert names(place) == {"last", "last.previous"}
    assert step_of(place.with_name("last.previous")) == 2


def test_a_kill_between_the_renames_costs_nothing(place: Path) -> None:
    for step in (1, 2):
        write(place, step)
    os.replace(place, place.with_name(".last.new"))
    assert checkpoint_io.find_checkpoint(place) == place
    assert step_of(place) == 2
    assert names(place) == {"last", "last.previous"}


def test_the_next_write_clears_what_a_kill_left(place: Path) -> None:
    half = place.with_name(".last.new")
    half.mkdir(parents=True)
    (half / "rest").write_bytes(b"")
    write(place, 1)
    assert names(place) == {"last"}
    assert not (place / "rest").exists()


def damage(place: Path, how: str) -> None:
    weights, marker = place / checkpoint_io.WEIGHTS, place / checkpoint_io.MARKER
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
        shutil.rmtree(place)
        place.write_text("")
    else:
        marker.write_text(how)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("cut", "model.weights.h5 is not what was written"),
        ("flipped", "model.weights.h5 is not what was written"),
        ("deleted", "model.weights.h5 is missing"),
        ("no marker", "it has no marker: its writing was cut short"),
        ("cut marker", "its marker cannot be read"),
        ("[]", "its marker cannot be read"),
        ('{"files": 3}', "its marker cannot be read"),
        ('{"files": {"x": 3}}', "its marker cannot be read"),
        ("a file in its place", "it has no marker"),
    ],
)
def test_a_damaged_one_is_put_aside_and_the_one_before_used(
    place: Path, how: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (1, 2):
        write(place, step)
    damage(place, how)
    with caplog.at_level(logging.WARNING):
        assert step_of(checkpoint_io.find_checkpoint(place)) == 1
    assert names(place) == {"last.previous", "last.damaged"}
    assert said in caplog.text
    assert "last.damaged" in caplog.text


def test_nothing_damaged_is_ever_deleted(place: Path) -> None:
    for step in (1, 2):
        write(place, step)
        damage(place, "flipped")
        assert checkpoint_io.find_checkpoint(place) is None
    assert names(place) == {"last.damaged", "last.damaged2"}


def test_two_damaged_ones_leave_none(place: Path) -> None:
    for step in (1, 2):
        write(place, step)
    damage(place, "flipped")
    damage(place.with_name("last.previous"), "flipped")
    assert checkpoint_io.find_checkpoint(place) is None
    assert names(place) == {"last.damaged", "last.previous.damaged"}


def test_a_full_disk_leaves_the_old_one_and_no_half(place: Path) -> None:
    write(place, 1)

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with pytest.raises(OSError, match="No space left"):
        checkpoint_io.write_checkpoint(place, {checkpoint_io.WEIGHTS: fail}, {"step": 2})
    assert names(place) == {"last"}
    assert step_of(checkpoint_io.find_checkpoint(place)) == 1


def test_the_marker_holds_size_and_hash_of_every_file(place: Path) -> None:
    write(place, 1)
    files = json.loads((place / checkpoint_io.MARKER).read_text())["files"]
    assert set(files) == {checkpoint_io.WEIGHTS, checkpoint_io.STATE}
    assert files[checkpoint_io.STATE]["bytes"] == len(b"state 1")


def test_arrays_come_back_by_name(tmp_path: Path) -> None:
    arrays = {"weight/a/kernel": np.arange(6.0).reshape(2, 3), "step": np.array(3)}
    checkpoint_io.write_arrays(tmp_path / "state.npz", arrays)
    read = checkpoint_io.read_arrays(tmp_path / "state.npz")
    assert read.keys() == arrays.keys()
    for name, value in arrays.items():
        np.testing.assert_array_equal(read[name], value)


@pytest.mark.parametrize("keep", [0, 10, -30])
def test_damaged_arrays_are_told(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "state.npz"
    checkpoint_io.write_arrays(path, {"a": np.zeros(100)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"state\.npz must hold the arrays .*It is damaged"):
        checkpoint_io.read_arrays(path)

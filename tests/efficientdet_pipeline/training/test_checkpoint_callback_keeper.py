"""What is kept of a run and when it ends, on a model of three weights."""

import csv
import errno
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from efficientdet_pipeline.errors import DataError, ExitCode, StoppedError
from efficientdet_pipeline.training import checkpoint_io
from efficientdet_pipeline.training.train_state import state_arrays

TOY = Path(__file__).with_name("toy_run.py")
_spec = importlib.util.spec_from_file_location("toy_run", TOY)
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open() as file:
        return [{name: row[name] for name in ("epoch", "step", "loss", "AP")} for row in csv.DictReader(file)]


def marker(folder: Path, name: str = "last") -> dict[str, Any]:
    return checkpoint_io.read_marker(folder / name)


def steps_kept(folder: Path) -> list[int]:
    return [checkpoint_io.read_marker(path)["step"] for path in checkpoint_io.find_checkpoints(folder / "last")]


def state_of(folder: Path) -> dict[str, np.ndarray]:
    return checkpoint_io.read_arrays(folder / "last" / checkpoint_io.STATE)


def assert_same_run(folder: Path, expected: Path) -> None:
    ours, theirs = state_of(folder), state_of(expected)
    assert ours.keys() == theirs.keys()
    assert not [name for name in theirs if not np.array_equal(ours[name], theirs[name])]
    assert rows(folder) == rows(expected)
    for place in ("last", "best"):
        weights = [(path / place / checkpoint_io.WEIGHTS).read_bytes() for path in (folder, expected)]
        assert weights[0] == weights[1], place
        facts = [marker(path, place) for path in (folder, expected)]
        for each in facts:
            del each["files"]
        assert facts[0] == facts[1], place


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    toy.Run(folder).go()
    return folder


def test_it_leaves_everything_in_its_place(whole: Path) -> None:
    assert [row["epoch"] for row in rows(whole)] == ["1", "2", "3", "4"]
    assert (whole / "results.png").read_bytes().startswith(b"\x89PNG")
    assert (marker(whole)["step"], marker(whole)["epoch"]) == (20, 4)
    assert (whole / "best" / checkpoint_io.NETWORK).read_text() == "name: toy\n"
    assert not (whole / "incidents.jsonl").exists()


def test_curves_that_a_kill_after_the_last_checkpoint_cut_off_are_drawn_by_the_next_start(
    whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    for left in (None, b"of an earlier epoch"):
        (folder / "results.png").unlink()
        if left:
            (folder / "results.png").write_bytes(left)
        toy.Run(folder).go()
        assert (folder / "results.png").read_bytes() == (whole / "results.png").read_bytes()
    assert_same_run(folder, whole)


def test_weights_are_written_averaged_and_the_model_is_left_alone(tmp_path: Path) -> None:
    run = toy.Run(tmp_path)
    run.go()
    arrays = state_arrays(run.model)
    fresh = toy.Toy()
    fresh.detector.load_weights(tmp_path / "last" / checkpoint_io.WEIGHTS)
    for variable, shadow in zip(fresh.detector.variables, run.model.average.shadows, strict=True):
        np.testing.assert_array_equal(variable, shadow)
    assert (arrays["weight/toy/dense/kernel"] != arrays["average/toy/dense/kernel"]).any()


@pytest.mark.parametrize(
    ("keep", "save_every", "kept"), [(1, 2, [20]), (3, 2, [20, 18, 16]), (3, 5, [20, 15, 10]), (2, 0, [20, 15])]
)
def test_so_many_are_kept_and_written_so_often(keep: int, save_every: int, kept: list[int], tmp_path: Path) -> None:
    toy.Run(tmp_path, keep=keep, save_every=save_every).go()
    assert steps_kept(tmp_path) == kept


def test_without_an_evaluation_only_the_frequency_and_the_end_save(tmp_path: Path) -> None:
    toy.Run(tmp_path, keep=9, save_every=7, evaluate=False).go()
    assert steps_kept(tmp_path) == [20, 14, 7]


def stop_at(run: Any, step: int) -> None:
    def look(batch: int, logs: Any = None) -> None:
        if run.keeper.step == step - 1:
            signal.raise_signal(signal.SIGTERM)

    run.keeper.on_train_batch_begin = look


@pytest.mark.parametrize("step", [3, 10, 20])
def test_stopped_it_is_the_same_run(step: int, whole: Path, tmp_path: Path) -> None:
    stopped = toy.Run(tmp_path)
    stop_at(stopped, step)
    with pytest.raises(StoppedError, match=f"after step {step} of 20") as stop:
        stopped.go()
    assert stop.value.exit_code is ExitCode.TRY_AGAIN
    continued = toy.Run(tmp_path)
    continued.go()
    assert_same_run(tmp_path, whole)
    assert stopped.evaluated + continued.evaluated == [1, 2, 3, 4]


def test_an_evaluation_is_cut_short_and_made_later(whole: Path, tmp_path: Path) -> None:
    stopped = toy.Run(tmp_path)

    def measure(epoch: int) -> dict[str, Any]:
        if epoch == 2:
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("the evaluation went on")
        return stopped.measure(epoch)

    stopped.keeper.evaluate = measure
    with pytest.raises(StoppedError, match="after step 10 of 20") as stop:
        stopped.go()
    assert stop.value.exit_code is ExitCode.INTERRUPTED
    assert [row["epoch"] for row in rows(tmp_path)] == ["1"]
    toy.Run(tmp_path).go()
    assert_same_run(tmp_path, whole)


def test_a_damaged_checkpoint_costs_the_steps_behind_it_alone(whole: Path, tmp_path: Path) -> None:
    stopped = toy.Run(tmp_path)
    stop_at(stopped, 13)
    with pytest.raises(StoppedError):
        stopped.go()
    (tmp_path / "last" / checkpoint_io.STATE).write_bytes(b"")
    continued = toy.Run(tmp_path)
    assert continued.keeper.restore(continued.model) == 12
    toy.Run(tmp_path).go()
    assert (tmp_path / "last.damaged").is_dir()
    assert_same_run(tmp_path, whole)


def test_a_best_from_beyond_the_checkpoint_comes_again(whole: Path, tmp_path: Path) -> None:
    # As a kill leaves it between the writing of the best and of the last.
    run = toy.Run(tmp_path, keep=9)
    run.go()
    for path in [path for path in checkpoint_io.find_checkpoints(tmp_path / "last") if marker(path, "")["step"] > 14]:
        for file in path.iterdir():
            file.unlink()
    toy.Run(tmp_path).go()
    assert_same_run(tmp_path, whole)


def test_patience_ends_the_run_and_more_of_it_goes_on(tmp_path: Path) -> None:
    aps = [0.3, 0.5, 0.5, 0.4, 0.1, 0.6, 0.2, 0.1]
    impatient = toy.Run(tmp_path, aps=aps, num_epochs=8, patience=2)
    impatient.go()
    assert impatient.evaluated == [1, 2, 3, 4]
    assert impatient.keeper.is_out_of_patience
    again = toy.Run(tmp_path, aps=aps, num_epochs=8, patience=2)
    again.go()
    assert again.evaluated == []
    patient = toy.Run(tmp_path, aps=aps, num_epochs=8, patience=3)
    patient.go()
    assert patient.evaluated == [5]
    endless = toy.Run(tmp_path, aps=aps, num_epochs=8)
    endless.go()
    assert endless.evaluated == [6, 7, 8]
    assert marker(tmp_path, "best")["epoch"] == 6


def test_more_epochs_extend_it(whole: Path, tmp_path: Path) -> None:
    toy.Run(tmp_path, num_epochs=2).go()
    toy.Run(tmp_path).go()
    assert_same_run(tmp_path, whole)


def test_a_lost_best_is_replaced_by_the_next_good_one(tmp_path: Path) -> None:
    aps = [0.2, 0.9, 0.3, 0.4]
    toy.Run(tmp_path, aps=aps, num_epochs=2).go()
    (tmp_path / "best" / checkpoint_io.WEIGHTS).write_bytes(b"")
    toy.Run(tmp_path, aps=aps).go()
    assert marker(tmp_path, "best")["AP"] == 0.4


def test_a_full_disk_ends_the_training_at_the_next_step(tmp_path: Path) -> None:
    run = toy.Run(tmp_path)

    written = []

    def fail(path: Path) -> None:
        path.write_text("half")
        written.append(path)
        # After 2, 4, 5 (the best and the last) and 6 comes 8.
        if len(written) == 6:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    run.keeper.write_network = fail
    with pytest.raises(OSError, match="No space left"):
        run.go(seconds=0.05)
    assert 8 < run.keeper.step < 20
    assert steps_kept(tmp_path) == [6, 5]
    assert not (tmp_path / ".last.new").exists()


def test_a_bad_step_is_passed_over_and_written_down(tmp_path: Path) -> None:
    run = toy.Run(tmp_path)
    run.go(bad=frozenset({7}))
    assert int(run.model.bad_steps_total.numpy()) == 1
    (line,) = (json.loads(line) for line in (tmp_path / "incidents.jsonl").read_text().splitlines())
    assert line.pop("usual") > 0
    assert line == {"step": 7, "epoch": 2, "kind": "bad", "loss": None, "position": 12, "batch_size": 2}


def photos_of(step: int) -> list[dict[str, Any]]:
    boxes = {"count": 2, "shortest_side": 0.5, "longest_side": 30.0, "outside": 1}
    return [{"photo": f"{step}.jpg", "boxes": boxes}, {"photo": "empty.jpg", "boxes": {**boxes, "count": 0}}]


def test_after_many_bad_steps_it_goes_back_once_then_ends_with_a_report(tmp_path: Path) -> None:
    run = toy.Run(tmp_path, keep=3, max_bad_steps=3, photos_of=photos_of)
    with pytest.raises(DataError, match=r"The last 3, up to step 9, had none.*halved to 0\.005.*: 9\.jpg, empty\.jpg"):
        run.go(bad=frozenset({7, 8, 9}))
    report = json.loads((tmp_path / "bad_steps.json").read_text())
    assert report["bad_steps_in_a_row"] == 3
    assert report["learning_rate"] == pytest.approx(0.005)
    assert [batch["step"] for batch in report["batches"]] == [7, 8, 9]
    assert report["batches"][0]["photos"][0]["photo"] == "7.jpg"
    # The same command comes to the same end: what was done once is not done again.
    again = toy.Run(tmp_path, keep=3, max_bad_steps=3, photos_of=photos_of)
    with pytest.raises(DataError, match="up to step 9"):
        again.go(bad=frozenset({7, 8, 9}))
    assert all(np.isfinite(array).all() for array in state_of(tmp_path).values())


def test_going_back_helps_where_the_learning_rate_was_at_fault(tmp_path: Path) -> None:
    run = toy.Run(tmp_path, max_bad_steps=3)
    gone_back: list[int] = []
    rewind = run.keeper.rewind

    def rewind_and_heal() -> None:
        rewind()
        gone_back.append(run.keeper.step)

    run.keeper.rewind = rewind_and_heal
    toy.train(
        run.model,
        lambda position: toy.batches_from(position, bad=frozenset() if gone_back else frozenset({8, 9, 10})),
        run.plan,
        run.keeper,
        bar=False,
    )
    # Step 8 was saved, but it was bad already; the one before it is good.
    assert gone_back == [6]
    assert float(run.model.learning_rate_factor.numpy()) == 0.5
    assert [row["epoch"] for row in rows(tmp_path)] == ["1", "2", "3", "4"]
    assert marker(tmp_path)["step"] == 20


def test_without_a_limit_bad_steps_never_end_it(tmp_path: Path) -> None:
    run = toy.Run(tmp_path, max_bad_steps=0, num_epochs=2)
    run.go(bad=frozenset(range(3, 9)))
    assert int(run.model.bad_steps_total.numpy()) == 6


def kill_at_random(folder: Path, expected_step: int, chance: random.Random, *arguments: str) -> None:
    """Starts the script and kills it some time after the checkpoint of `expected_step`, before the end."""
    process = subprocess.Popen([sys.executable, TOY, folder, *arguments], stderr=subprocess.PIPE, text=True)
    path = folder / "last" / checkpoint_io.MARKER
    while process.poll() is None:
        try:
            if json.loads(path.read_text())["step"] >= expected_step:
                break
        except (FileNotFoundError, ValueError):
            pass
        time.sleep(0.01)
    assert process.poll() is None, process.stderr.read()
    time.sleep(chance.random() * 0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_killed_again_and_again_it_is_the_same_run(tmp_path: Path) -> None:
    chance = random.Random(1)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([sys.executable, TOY, whole, "3", "0"], check=True, capture_output=True)
    for step in (3, 12, 21):
        kill_at_random(killed, step, chance, "3", "0.05")
    subprocess.run([sys.executable, TOY, killed, "3", "0"], check=True, capture_output=True)
    assert marker(killed)["step"] == 30
    assert_same_run(killed, whole)


def test_a_stop_that_cannot_wait_knows_the_last_checkpoint(tmp_path: Path) -> None:
    run = toy.Run(tmp_path, save_every=4)
    assert "No checkpoint was written yet" in run.keeper.stop.resumes_from
    run.go()
    assert f"continues after step 20, the last checkpoint, in {tmp_path / 'last'}." in run.keeper.stop.resumes_from
    assert not run.keeper.stop.is_building


@pytest.mark.parametrize(("writing", "due"), [(0.1, 31), (10.0, 201), (1000.0, 301)])
def test_checkpoints_are_due_by_time_and_never_further_apart_than_minutes(
    writing: float, due: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = toy.Run(tmp_path, save_every=0).keeper
    keeper._background.seconds = writing
    clock = [keeper._saved_at + due - 2]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    assert not keeper._is_time_to_save()
    clock[0] += 2
    assert keeper._is_time_to_save()


@pytest.mark.parametrize("aps", [[0.0, 0.0, 0.0, 0.0, 0.2, 0.3], [0.004, 0.003, 0.001, 0.002, 0.0, 0.3], [-1.0] * 6])
def test_patience_does_not_end_a_run_that_has_not_begun(aps: list[float], tmp_path: Path) -> None:
    run = toy.Run(tmp_path, aps=aps, num_epochs=6, patience=2)
    run.go()
    assert run.evaluated == [1, 2, 3, 4, 5, 6]
    assert run.keeper.step == run.plan.num_steps

"""Checkpoint callback: saving, evaluation, early stopping and rewinding, on a model of three weights."""

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
    toy.Run(folder).run()
    return folder


def test_checkpoint_callback_writes_all_files(whole: Path) -> None:
    assert [row["epoch"] for row in rows(whole)] == ["1", "2", "3", "4"]
    assert (whole / "results.png").read_bytes().startswith(b"\x89PNG")
    assert (marker(whole)["step"], marker(whole)["epoch"]) == (20, 4)
    assert (whole / "best" / checkpoint_io.NETWORK).read_text() == "name: toy\n"
    assert not (whole / "incidents.jsonl").exists()


def test_checkpoint_callback_redraws_curves_missing_after_a_kill(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    for left in (None, b"of an earlier epoch"):
        (folder / "results.png").unlink()
        if left:
            (folder / "results.png").write_bytes(left)
        toy.Run(folder).run()
        assert (folder / "results.png").read_bytes() == (whole / "results.png").read_bytes()
    assert_same_run(folder, whole)


def test_checkpoint_callback_writes_ema_weights_and_keeps_the_model(tmp_path: Path) -> None:
    run = toy.Run(tmp_path)
    run.run()
    arrays = state_arrays(run.model)
    fresh = toy.Toy()
    fresh.network.load_weights(tmp_path / "last" / checkpoint_io.WEIGHTS)
    for variable, shadow in zip(fresh.network.variables, run.model.ema.shadows, strict=True):
        np.testing.assert_array_equal(variable, shadow)
    assert (arrays["weight/toy/dense/kernel"] != arrays["average/toy/dense/kernel"]).any()


@pytest.mark.parametrize(
    ("keep", "save_every", "kept"), [(1, 2, [20]), (3, 2, [20, 18, 16]), (3, 5, [20, 15, 10]), (2, 0, [20, 15])]
)
def test_checkpoint_callback_saves_and_keeps_as_configured(
    keep: int, save_every: int, kept: list[int], tmp_path: Path
) -> None:
    toy.Run(tmp_path, keep=keep, save_every=save_every).run()
    assert steps_kept(tmp_path) == kept


def test_checkpoint_callback_without_evaluation_saves_by_frequency_and_at_the_end(tmp_path: Path) -> None:
    toy.Run(tmp_path, keep=9, save_every=7, evaluate=False).run()
    assert steps_kept(tmp_path) == [20, 14, 7]


def stop_at(run: Any, step: int) -> None:
    def look(batch: int, logs: Any = None) -> None:
        if run.callback.step == step - 1:
            signal.raise_signal(signal.SIGTERM)

    run.callback.on_train_batch_begin = look


@pytest.mark.parametrize("step", [3, 10, 20])
def test_checkpoint_callback_resumed_run_is_the_same(step: int, whole: Path, tmp_path: Path) -> None:
    stopped = toy.Run(tmp_path)
    stop_at(stopped, step)
    with pytest.raises(StoppedError, match=f"after step {step} of 20") as stop:
        stopped.run()
    assert stop.value.exit_code is ExitCode.TRY_AGAIN
    continued = toy.Run(tmp_path)
    continued.run()
    assert_same_run(tmp_path, whole)
    assert stopped.evaluated + continued.evaluated == [1, 2, 3, 4]


def test_checkpoint_callback_repeats_an_interrupted_evaluation(whole: Path, tmp_path: Path) -> None:
    stopped = toy.Run(tmp_path)

    def measure(epoch: int) -> dict[str, Any]:
        if epoch == 2:
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("the evaluation continued")
        return stopped.measure(epoch)

    stopped.callback.evaluate = measure
    with pytest.raises(StoppedError, match="after step 10 of 20") as stop:
        stopped.run()
    assert stop.value.exit_code is ExitCode.INTERRUPTED
    assert [row["epoch"] for row in rows(tmp_path)] == ["1"]
    toy.Run(tmp_path).run()
    assert_same_run(tmp_path, whole)


def test_checkpoint_callback_falls_back_from_a_damaged_checkpoint(whole: Path, tmp_path: Path) -> None:
    stopped = toy.Run(tmp_path)
    stop_at(stopped, 13)
    with pytest.raises(StoppedError):
        stopped.run()
    (tmp_path / "last" / checkpoint_io.STATE).write_bytes(b"")
    continued = toy.Run(tmp_path)
    assert continued.callback.restore(continued.model) == 12
    toy.Run(tmp_path).run()
    assert (tmp_path / "last.damaged").is_dir()
    assert_same_run(tmp_path, whole)


def test_checkpoint_callback_repeats_a_best_newer_than_the_checkpoint(whole: Path, tmp_path: Path) -> None:
    # The state after a kill between writing the best and the last checkpoint.
    run = toy.Run(tmp_path, keep=9)
    run.run()
    for path in [path for path in checkpoint_io.find_checkpoints(tmp_path / "last") if marker(path, "")["step"] > 14]:
        for file in path.iterdir():
            file.unlink()
    toy.Run(tmp_path).run()
    assert_same_run(tmp_path, whole)


def test_early_stopping_by_patience_and_resuming_with_more(tmp_path: Path) -> None:
    aps = [0.3, 0.5, 0.5, 0.4, 0.1, 0.6, 0.2, 0.1]
    stopped = toy.Run(tmp_path, aps=aps, num_epochs=8, patience=2)
    stopped.run()
    assert stopped.evaluated == [1, 2, 3, 4]
    assert stopped.callback.is_out_of_patience
    again = toy.Run(tmp_path, aps=aps, num_epochs=8, patience=2)
    again.run()
    assert again.evaluated == []
    patient = toy.Run(tmp_path, aps=aps, num_epochs=8, patience=3)
    patient.run()
    assert patient.evaluated == [5]
    endless = toy.Run(tmp_path, aps=aps, num_epochs=8)
    endless.run()
    assert endless.evaluated == [6, 7, 8]
    assert marker(tmp_path, "best")["epoch"] == 6


def test_checkpoint_callback_takes_no_best_before_the_weights_are_final(tmp_path: Path) -> None:
    run = toy.Run(tmp_path, aps=[0.9, 0.8, 0.3, 0.4], patience=2)
    run.model.best_from_step = 11
    run.run()
    assert run.evaluated == [1, 2, 3, 4]
    assert marker(tmp_path, "best")["AP"] == 0.4
    assert marker(tmp_path)["evaluations_since"] == 0


def test_checkpoint_callback_extends_a_run(whole: Path, tmp_path: Path) -> None:
    toy.Run(tmp_path, num_epochs=2).run()
    toy.Run(tmp_path).run()
    assert_same_run(tmp_path, whole)


def test_checkpoint_callback_replaces_a_lost_best(tmp_path: Path) -> None:
    aps = [0.2, 0.9, 0.3, 0.4]
    toy.Run(tmp_path, aps=aps, num_epochs=2).run()
    (tmp_path / "best" / checkpoint_io.WEIGHTS).write_bytes(b"")
    toy.Run(tmp_path, aps=aps).run()
    assert marker(tmp_path, "best")["AP"] == 0.4


def test_checkpoint_callback_raises_write_errors_at_the_next_step(tmp_path: Path) -> None:
    run = toy.Run(tmp_path)

    written = []

    def fail(path: Path) -> None:
        path.write_text("half")
        written.append(path)
        # Written at steps 2, 4, 5 (best and last), 6; then 8.
        if len(written) == 6:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    run.callback.write_network = fail
    with pytest.raises(OSError, match="No space left"):
        run.run(seconds=0.05)
    assert 8 < run.callback.step < 20
    assert steps_kept(tmp_path) == [6, 5]
    assert not (tmp_path / ".last.new").exists()


def test_checkpoint_callback_logs_a_bad_step(tmp_path: Path) -> None:
    run = toy.Run(tmp_path)
    run.run(bad=frozenset({7}))
    assert int(run.model.bad_steps_total.numpy()) == 1
    (line,) = (json.loads(line) for line in (tmp_path / "incidents.jsonl").read_text().splitlines())
    assert line.pop("usual") > 0
    assert line == {"step": 7, "epoch": 2, "kind": "bad", "loss": None, "position": 12, "batch_size": 2}


def images_of(step: int) -> list[dict[str, Any]]:
    boxes = {"count": 2, "shortest_side": 0.5, "longest_side": 30.0, "outside": 1}
    return [{"image": f"{step}.jpg", "boxes": boxes}, {"image": "empty.jpg", "boxes": {**boxes, "count": 0}}]


def test_checkpoint_callback_rewinds_once_then_raises_with_a_report(tmp_path: Path) -> None:
    run = toy.Run(tmp_path, keep=3, max_bad_steps=3, images_of=images_of)
    with pytest.raises(
        DataError,
        match=r"gradient of the last 3 steps, up to step 9, is not finite.*halved to 0\.005.*: 9\.jpg, empty\.jpg",
    ):
        run.run(bad=frozenset({7, 8, 9}))
    report = json.loads((tmp_path / "bad_steps.json").read_text())
    assert report["bad_steps_in_a_row"] == 3
    assert report["learning_rate"] == pytest.approx(0.005)
    assert [batch["step"] for batch in report["batches"]] == [7, 8, 9]
    assert report["batches"][0]["images"][0]["image"] == "7.jpg"
    # The same command ends the same way: it does not rewind again.
    again = toy.Run(tmp_path, keep=3, max_bad_steps=3, images_of=images_of)
    with pytest.raises(DataError, match="up to step 9"):
        again.run(bad=frozenset({7, 8, 9}))
    assert all(np.isfinite(array).all() for array in state_of(tmp_path).values())


def test_checkpoint_callback_rewind_halves_the_learning_rate(tmp_path: Path) -> None:
    run = toy.Run(tmp_path, max_bad_steps=3)
    rewound_to: list[int] = []
    rewind = run.callback.rewind

    def rewind_and_heal() -> None:
        rewind()
        rewound_to.append(run.callback.step)

    run.callback.rewind = rewind_and_heal
    toy.train(
        run.model,
        lambda position: toy.batches_from(position, bad=frozenset() if rewound_to else frozenset({8, 9, 10})),
        run.config,
        run.callback,
        bar=False,
    )
    # Step 8 was saved, but was already bad; the one before is good.
    assert rewound_to == [6]
    assert float(run.model.learning_rate_factor.numpy()) == 0.5
    assert [row["epoch"] for row in rows(tmp_path)] == ["1", "2", "3", "4"]
    assert marker(tmp_path)["step"] == 20


def test_checkpoint_callback_without_limit_skips_all_bad_steps(tmp_path: Path) -> None:
    run = toy.Run(tmp_path, max_bad_steps=0, num_epochs=2)
    run.run(bad=frozenset(range(3, 9)))
    assert int(run.model.bad_steps_total.numpy()) == 6


def kill_at_random(folder: Path, expected_step: int, chance: random.Random, *arguments: str) -> None:
    """Starts the script and kills it after the checkpoint of `expected_step`, before the end."""
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


@pytest.mark.parametrize("steps", [(12,), pytest.param((3, 12, 21), marks=pytest.mark.slow)])
def test_checkpoint_callback_repeatedly_killed_run_is_the_same(steps: tuple[int, ...], tmp_path: Path) -> None:
    chance = random.Random(1)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([sys.executable, TOY, whole, "3", "0"], check=True, capture_output=True)
    for step in steps:
        kill_at_random(killed, step, chance, "3", "0.05")
    subprocess.run([sys.executable, TOY, killed, "3", "0"], check=True, capture_output=True)
    assert marker(killed)["step"] == 30
    assert_same_run(killed, whole)


def test_checkpoint_callback_sets_the_resume_message(tmp_path: Path) -> None:
    run = toy.Run(tmp_path, save_every=4)
    assert "No checkpoint was written yet" in run.callback.stop.resumes_from
    run.run()
    assert f"resumes after step 20, the last checkpoint, in {tmp_path / 'last'}." in run.callback.stop.resumes_from
    assert not run.callback.stop.is_building


@pytest.mark.parametrize(("writing", "due"), [(0.1, 31), (10.0, 201), (1000.0, 301)])
def test_checkpoint_callback_saves_by_time_at_least_every_few_minutes(
    writing: float, due: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    callback = toy.Run(tmp_path, save_every=0).callback
    callback._writer.seconds = writing
    clock = [callback._saved_at + due - 2]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    assert not callback._is_time_to_save()
    clock[0] += 2
    assert callback._is_time_to_save()


@pytest.mark.parametrize("aps", [[0.0, 0.0, 0.0, 0.0, 0.2, 0.3], [0.004, 0.003, 0.001, 0.002, 0.0, 0.3], [-1.0] * 6])
def test_early_stopping_is_inactive_while_the_metric_is_near_zero(aps: list[float], tmp_path: Path) -> None:
    run = toy.Run(tmp_path, aps=aps, num_epochs=6, patience=2)
    run.run()
    assert run.evaluated == [1, 2, 3, 4, 5, 6]
    assert run.callback.step == run.config.num_steps

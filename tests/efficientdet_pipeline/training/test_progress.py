"""Progress bar and progress lines."""

import logging
import re
import time
from types import SimpleNamespace

import pytest

from efficientdet_pipeline.training.progress import DataWaitTimer, Progress, format_duration

LOGS = {"class_loss": 0.5, "loss": 1.25, "bad_steps": 0.0, "gradient_norm": 9.0, "step_loss": 7.0}


def progress(*, bar: bool, data_wait: float | None = None) -> Progress:
    meter = None if data_wait is None else DataWaitTimer()
    if meter is not None:
        meter.seconds = data_wait
    made = Progress(steps=4, epochs=3, batch_size=8, data_wait=meter, bar=bar)
    made.set_model(SimpleNamespace(last_learning_rate=lambda: 0.0125, train_function=object()))
    return made


def test_progress_logs_a_line_per_epoch(caplog: pytest.LogCaptureFixture) -> None:
    callback = progress(bar=False, data_wait=0.0)
    logs = dict(LOGS)
    with caplog.at_level(logging.INFO, logger="absl"):
        callback.on_epoch_begin(1)
        for batch in range(4):
            callback.on_train_batch_end(batch, logs)
        callback.on_epoch_end(1, logs)
    (line,) = caplog.messages
    assert re.fullmatch(
        r"epoch 2/3: loss 1\.25, class loss 0\.5, learning rate 0\.013, [\d.]+ images/s, 0% waiting for data, "
        r"(memory [\d.]+ GB, )?\d+ s left, took \d+ s",
        line,
    )
    assert logs["photos_per_second"] > 0
    assert logs["data_wait"] == 0


def test_progress_without_a_terminal_logs_a_line_every_half_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    callback = progress(bar=False)
    callback.steps = 100
    with caplog.at_level(logging.INFO, logger="absl"):
        callback.on_epoch_begin(1)
        for batch in range(100):
            clock[0] += 1.0
            callback.on_train_batch_end(batch, LOGS)
        callback.on_epoch_end(1, dict(LOGS))
    *lines, end = caplog.messages
    assert [line.partition(":")[0] for line in lines] == [f"epoch 2/3, step {step}/100" for step in (30, 60, 90)]
    assert "loss 1.25" in lines[1]
    assert "8.0 images/s" in lines[1]
    assert "2 min 20 s left" in lines[1]
    assert end.startswith("epoch 2/3: ")


def test_progress_data_wait_is_a_share_of_the_epoch() -> None:
    callback = progress(bar=False, data_wait=0.0)
    logs = dict(LOGS)
    callback.on_epoch_begin(0)
    for batch in range(4):
        callback.on_train_batch_end(batch, logs)
        callback.data_wait.seconds += 1000.0
    callback.on_epoch_end(0, logs)
    assert logs["data_wait"] == 1.0


def test_progress_shows_a_bar_in_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    callback = progress(bar=True)
    callback.on_epoch_begin(0)
    for batch in range(4):
        callback.on_train_batch_end(batch, {**LOGS, "bad_steps": 2.0})
    callback.on_epoch_end(0, dict(LOGS))
    shown = capsys.readouterr().err
    assert "epoch 1/3: 100%" in shown
    assert "loss 1.25, class loss 0.5, learning rate 0.013" in shown
    assert "2 consecutive bad steps" in shown


def test_progress_bar_drops_the_least_important_parts_in_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    callback = progress(bar=True)
    callback.on_epoch_begin(0)
    for batch in range(4):
        callback.on_train_batch_end(batch, LOGS)
    callback.on_epoch_end(0, dict(LOGS))
    last = [line for line in re.split(r"[\r\n]", capsys.readouterr().err) if "4/4" in line][-1]
    assert len(last) <= 80
    assert "loss 1.25" in last
    assert last.rstrip().endswith("0 s left")
    assert "class loss" not in last


def test_progress_shows_no_speed_after_the_first_step() -> None:
    callback = progress(bar=False, data_wait=0.0)
    callback.on_epoch_begin(0)
    callback.on_train_batch_end(0, LOGS)
    words = callback._status(1, time.monotonic(), LOGS)
    assert words["loss"] == "loss 1.25"
    assert (words["speed"], words["wait"], words["left"]) == ("", "", "")


def test_progress_speed_excludes_building_the_train_step() -> None:
    callback = progress(bar=False)
    for epoch in range(2):
        callback.on_epoch_begin(epoch)
        callback.model.train_function = object()
        time.sleep(0.5)  # Time for building.
        for batch in range(4):
            callback.on_train_batch_end(batch, LOGS)
        logs = dict(LOGS)
        callback.on_epoch_end(epoch, logs)
        assert logs["photos_per_second"] > 8 * 4 / 0.5


def test_progress_logs_nothing_for_an_interrupted_epoch(caplog: pytest.LogCaptureFixture) -> None:
    callback = progress(bar=False)
    with caplog.at_level(logging.INFO, logger="absl"):
        callback.on_epoch_begin(0)
        callback.on_train_batch_end(0, LOGS)
        callback.on_epoch_end(0, dict(LOGS))
    assert caplog.messages == []


def test_progress_logs_a_resumed_epoch(caplog: pytest.LogCaptureFixture) -> None:
    callback = progress(bar=False)
    callback.first_step = 3
    with caplog.at_level(logging.INFO, logger="absl"):
        callback.on_epoch_begin(0)
        callback.on_train_batch_end(0, LOGS)
        callback.on_epoch_end(0, dict(LOGS))
    assert caplog.messages[0].startswith("epoch 1/3")


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_format_duration_is_readable(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text

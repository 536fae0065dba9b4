"""What is said of an epoch."""

import logging
import re
import time
from types import SimpleNamespace

import pytest

from efficientdet_pipeline.training.progress import Progress, format_duration

LOGS = {"class_loss": 0.5, "loss": 1.25, "bad_steps": 0.0, "gradient_norm": 9.0, "step_loss": 7.0}


def progress(*, bar: bool, waiting: float | None = None) -> Progress:
    meter = None if waiting is None else SimpleNamespace(seconds=waiting)
    made = Progress(steps=4, epochs=3, batch_size=8, waiting=meter, bar=bar)
    made.set_model(SimpleNamespace(last_learning_rate=lambda: 0.0125, train_function=object()))
    return made


def test_an_epoch_ends_with_a_line(caplog: pytest.LogCaptureFixture) -> None:
    told = progress(bar=False, waiting=0.0)
    logs = dict(LOGS)
    with caplog.at_level(logging.INFO):
        told.on_epoch_begin(1)
        for batch in range(4):
            told.on_train_batch_end(batch, logs)
        told.on_epoch_end(1, logs)
    (line,) = caplog.messages
    assert re.fullmatch(
        r"epoch 2/3: loss 1\.25, class loss 0\.5, learning rate 0\.013, [\d.]+ photos/s, 0% waiting for data, "
        r"(memory [\d.]+ GB, )?\d+ s left, took \d+ s",
        line,
    )
    assert logs["photos_per_second"] > 0
    assert logs["data_wait"] == 0


def test_progress_without_a_terminal_is_a_line_now_and_then(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    told = progress(bar=False)
    told.steps = 100
    with caplog.at_level(logging.INFO):
        told.on_epoch_begin(1)
        for batch in range(100):
            clock[0] += 1.0
            told.on_train_batch_end(batch, LOGS)
        told.on_epoch_end(1, dict(LOGS))
    *lines, end = caplog.messages
    assert [line.partition(":")[0] for line in lines] == [f"epoch 2/3, step {step}/100" for step in (30, 60, 90)]
    assert "loss 1.25" in lines[1]
    assert "8.0 photos/s" in lines[1]
    assert "2 min 20 s left" in lines[1]
    assert end.startswith("epoch 2/3: ")


def test_the_wait_for_data_is_a_share_of_the_epoch() -> None:
    told = progress(bar=False, waiting=0.0)
    logs = dict(LOGS)
    told.on_epoch_begin(0)
    for batch in range(4):
        told.on_train_batch_end(batch, logs)
        told.waiting.seconds += 1000.0
    told.on_epoch_end(0, logs)
    assert logs["data_wait"] == 1.0


def test_a_terminal_sees_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    told = progress(bar=True)
    told.on_epoch_begin(0)
    for batch in range(4):
        told.on_train_batch_end(batch, {**LOGS, "bad_steps": 2.0})
    told.on_epoch_end(0, dict(LOGS))
    shown = capsys.readouterr().err
    assert "epoch 1/3: 100%" in shown
    assert "loss 1.25, class loss 0.5, learning rate 0.013" in shown
    assert "2 bad steps in a row" in shown


def test_a_narrow_terminal_sees_what_matters(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    told = progress(bar=True)
    told.on_epoch_begin(0)
    for batch in range(4):
        told.on_train_batch_end(batch, LOGS)
    told.on_epoch_end(0, dict(LOGS))
    last = [line for line in re.split(r"[\r\n]", capsys.readouterr().err) if "4/4" in line][-1]
    assert len(last) <= 80
    assert "loss 1.25" in last
    assert last.rstrip().endswith("0 s left")
    assert "class loss" not in last


def test_the_first_step_tells_no_speed() -> None:
    told = progress(bar=False, waiting=0.0)
    told.on_epoch_begin(0)
    told.on_train_batch_end(0, LOGS)
    words = told._words(1, time.monotonic(), LOGS)
    assert words["loss"] == "loss 1.25"
    assert (words["speed"], words["wait"], words["left"]) == ("", "", "")


def test_an_epoch_that_builds_its_step_anew_is_as_fast_as_the_others() -> None:
    told = progress(bar=False)
    for epoch in range(2):
        told.on_epoch_begin(epoch)
        told.model.train_function = object()
        time.sleep(0.5)  # What building takes.
        for batch in range(4):
            told.on_train_batch_end(batch, LOGS)
        logs = dict(LOGS)
        told.on_epoch_end(epoch, logs)
        assert logs["photos_per_second"] > 8 * 4 / 0.5


def test_an_epoch_that_is_cut_short_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    told = progress(bar=False)
    with caplog.at_level(logging.INFO):
        told.on_epoch_begin(0)
        told.on_train_batch_end(0, LOGS)
        told.on_epoch_end(0, dict(LOGS))
    assert caplog.messages == []


def test_the_rest_of_an_epoch_that_is_continued_makes_it_whole(caplog: pytest.LogCaptureFixture) -> None:
    told = progress(bar=False)
    told.first_step = 3
    with caplog.at_level(logging.INFO):
        told.on_epoch_begin(0)
        told.on_train_batch_end(0, LOGS)
        told.on_epoch_end(0, dict(LOGS))
    assert caplog.messages[0].startswith("epoch 1/3")


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text

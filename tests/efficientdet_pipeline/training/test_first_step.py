"""Time until the first step, in lines or in the bar."""

import logging
import time
from types import SimpleNamespace

import pytest

from efficientdet_pipeline.training import first_step, strategy
from efficientdet_pipeline.training.compilation import Compilation
from efficientdet_pipeline.training.first_step import FirstStep
from efficientdet_pipeline.training.progress import Progress


def callback(monkeypatch: pytest.MonkeyPatch, *, bar: bool = False) -> FirstStep:
    seconds = iter(range(0, 1000, 100))
    monkeypatch.setattr(strategy, "compilation", lambda: Compilation("Compiling", float(next(seconds)), 0.0, "/cache"))
    made = FirstStep(Progress(steps=4, epochs=1, batch_size=8, data_wait=None, bar=bar), line_seconds=0.05)
    made.set_model(SimpleNamespace(train_function=object()))
    return made


def test_first_step_logs_the_elapsed_time_until_it_ends(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_step, "_WORTH_REPORTING", 0.0)
    made = callback(monkeypatch)
    with caplog.at_level(logging.INFO, logger="absl"):
        made.on_train_begin()
        made.on_epoch_begin(0)
        deadline = time.monotonic() + 30
        while not caplog.messages and time.monotonic() < deadline:
            time.sleep(0.01)
        for batch in range(3):
            made.on_train_batch_end(batch)
        made.on_train_end()
    *lines, last = caplog.messages
    assert lines
    assert set(lines) == {"Compiling: 0 s so far."}
    assert last == "First step after 0 s, 100 s of them compiling; the next start reads the result from /cache."


def test_first_step_is_reported_again_for_another_train_function(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_step, "_WORTH_REPORTING", 0.0)
    made = callback(monkeypatch)
    with caplog.at_level(logging.INFO, logger="absl"):
        for _ in range(2):  # The second `fit` has the same function.
            made.on_train_begin()
            made.on_train_batch_end(0)
            made.on_train_end()
        assert len([line for line in caplog.messages if line.startswith("First step")]) == 1
        made._model.train_function = object()
        made.on_epoch_begin(1)
        made.on_train_batch_end(0)
    assert len([line for line in caplog.messages if line.startswith("First step")]) == 2


def test_first_step_shows_the_elapsed_time_in_the_bar(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_step, "_BAR_SECONDS", 0.05)
    made = callback(monkeypatch, bar=True)
    with caplog.at_level(logging.INFO, logger="absl"):
        made.on_train_begin()
        made.progress.on_epoch_begin(0)
        deadline, shown = time.monotonic() + 30, ""
        while "compiling, 0 s" not in shown and time.monotonic() < deadline:
            time.sleep(0.01)
            shown += capsys.readouterr().err
        made.on_train_batch_end(0)
    assert "compiling, 0 s" in shown
    assert caplog.messages == []  # A quick first step is not worth a line.


def test_first_step_that_fails_ends_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    made = callback(monkeypatch)
    made.on_train_begin()
    thread = made._thread
    assert thread is not None
    made.on_train_end()
    assert not thread.is_alive()

"""Asynchronous writer: one job at a time; errors are raised in the caller's thread."""

import threading

import pytest

from efficientdet_pipeline.training.checkpoint_io import AsyncWriter


def fail() -> None:
    raise OSError("full")


def test_async_writer_runs_a_job_and_waits() -> None:
    background, go, done = AsyncWriter(), threading.Event(), []

    def job() -> None:
        go.wait(10)
        done.append(threading.current_thread())

    background.submit(job)
    assert background.is_busy
    assert not done
    go.set()
    background.wait()
    assert done[0] is not threading.current_thread()
    assert not background.is_busy


def test_async_writer_runs_one_job_at_a_time() -> None:
    background, order = AsyncWriter(), []
    background.submit(lambda: (threading.Event().wait(0.1), order.append(1)))
    background.submit(lambda: order.append(2))
    background.wait()
    assert order == [1, 2]


def test_async_writer_raises_an_error_once() -> None:
    background = AsyncWriter()
    background.submit(fail)
    with pytest.raises(OSError, match="full"):
        background.wait()
    background.wait()
    background.submit(fail)
    with pytest.raises(OSError, match="full"):
        background.submit(lambda: None)

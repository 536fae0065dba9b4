"""One job at a time, beside the training; what goes wrong is raised in the training's thread."""

import threading

import pytest

from efficientdet_pipeline.training.checkpoint_io import AsyncWriter


def fail() -> None:
    raise OSError("full")


def test_a_job_is_done_beside_and_waited_for() -> None:
    background, go, done = AsyncWriter(), threading.Event(), []

    def job() -> None:
        go.wait(10)
        done.append(threading.current_thread())

    background.begin(job)
    assert background.is_busy
    assert not done
    go.set()
    background.wait()
    assert done[0] is not threading.current_thread()
    assert not background.is_busy


def test_the_next_job_waits_for_the_one_before() -> None:
    background, order = AsyncWriter(), []
    background.begin(lambda: (threading.Event().wait(0.1), order.append(1)))
    background.begin(lambda: order.append(2))
    background.wait()
    assert order == [1, 2]


def test_an_error_is_raised_once() -> None:
    background = AsyncWriter()
    background.begin(fail)
    with pytest.raises(OSError, match="full"):
        background.wait()
    background.wait()
    background.begin(fail)
    with pytest.raises(OSError, match="full"):
        background.begin(lambda: None)

import os

import pytest

from tfrmod.errors import DatasetError
from tfrmod.workers import Workers, default_workers


def test_work_is_done_here_or_there_in_the_same_order() -> None:
    tasks = [(number, 2) for number in range(30)]
    for count in (1, 2):
        with Workers(count) as workers:
            assert list(workers.map(pow, tasks)) == [number**2 for number in range(30)]


def test_an_error_comes_back_and_a_killed_worker_is_explained() -> None:
    with Workers(2) as workers:
        with pytest.raises(ZeroDivisionError):
            list(workers.map(divmod, [(1, 0)]))
        with pytest.raises(DatasetError, match="worker process ended"):
            list(workers.map(os._exit, [(3,)]))


def test_there_is_at_least_one_core() -> None:
    assert default_workers() >= 1

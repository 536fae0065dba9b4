import os
import threading
import time
from pathlib import Path

import pytest

from tfrmod.lock import waiting_lock


def test_one_after_the_other(tmp_path: Path) -> None:
    inside, most = [], []

    def work(number: int) -> None:
        with waiting_lock(tmp_path / "thing"):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.01)
            inside.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 6
    assert os.listdir(tmp_path) == []


def test_an_error_passes_and_frees_it(tmp_path: Path) -> None:
    with pytest.raises(KeyError), waiting_lock(tmp_path / "new" / "thing"):
        raise KeyError
    with waiting_lock(tmp_path / "new" / "thing"):
        assert os.listdir(tmp_path / "new") == [".thing.lock"]


def test_what_a_killed_process_left_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".thing.lock").touch()
    with waiting_lock(tmp_path / "thing"):
        assert os.listdir(tmp_path) == [".thing.lock"]
    assert os.listdir(tmp_path) == []


def test_where_nothing_can_be_locked_nobody_waits(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with waiting_lock(tmp_path / "file" / "thing"):
        assert os.listdir(tmp_path) == ["file"]

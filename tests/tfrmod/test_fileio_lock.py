import builtins
import errno
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tfrmod.fileio import lock_file, remove_stale_lock, waiting_lock


def test_fileio_lock_one_after_the_other(tmp_path: Path) -> None:
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


def test_fileio_lock_error_passes_and_frees_it(tmp_path: Path) -> None:
    with pytest.raises(KeyError), waiting_lock(tmp_path / "new" / "thing"):
        raise KeyError
    with waiting_lock(tmp_path / "new" / "thing"):
        assert os.listdir(tmp_path / "new") == [".thing.lock"]


def test_fileio_lock_what_a_killed_process_left_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".thing.lock").touch()
    with waiting_lock(tmp_path / "thing"):
        assert os.listdir(tmp_path) == [".thing.lock"]
    assert os.listdir(tmp_path) == []


def test_fileio_lock_stale_lock_is_removed_and_one_that_is_held_stays(tmp_path: Path) -> None:
    remove_stale_lock(tmp_path / "thing")
    (tmp_path / ".thing.lock").touch()
    remove_stale_lock(tmp_path / "thing")
    assert os.listdir(tmp_path) == []
    with waiting_lock(tmp_path / "thing"):
        remove_stale_lock(tmp_path / "thing")
        assert os.listdir(tmp_path) == [".thing.lock"]


def test_fileio_lock_without_system_locks_does_not_wait(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with waiting_lock(tmp_path / "file" / "thing"):
        assert os.listdir(tmp_path) == ["file"]


class FakeMsvcrt:
    """Windows's locks of regions: they keep others out of the region, and are held until the file is closed."""

    LK_NBLCK = 2

    @staticmethod
    def locking(descriptor: int, mode: int, length: int) -> None:
        import fcntl

        assert os.lseek(descriptor, 0, os.SEEK_CUR) >= 1 << 20, "readers of the file must not be kept out"
        assert (mode, length) == (2, 1)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, "Permission denied") from None


@pytest.fixture(params=["flock", "msvcrt", "none"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    real = builtins.__import__

    def without(name: str, globals: Any = None, *others: Any) -> Any:
        if name in {"fcntl", "msvcrt"} and globals and globals.get("__name__") == "tfrmod.fileio":
            if name == "msvcrt" and request.param == "msvcrt":
                return FakeMsvcrt
            raise ImportError(name)
        return real(name, globals, *others)

    if request.param != "flock":
        monkeypatch.setattr(builtins, "__import__", without)
    return request.param


def test_lock_file_is_held_until_it_is_closed(system: str, tmp_path: Path) -> None:
    first, second = (os.open(tmp_path / "x", os.O_CREAT | os.O_RDWR) for _ in range(2))
    if system == "none":
        with pytest.raises(OSError, match="does not support file locks"):
            lock_file(first, waits=False)
    else:
        assert lock_file(first, waits=True)
        os.write(first, b"123")
        assert not lock_file(second, waits=False)
        assert os.read(second, 3) == b"123"
        os.close(first)
        first = os.open(tmp_path / "x", os.O_RDWR)
        assert lock_file(second, waits=False)
    os.close(first)
    os.close(second)


def test_waiting_lock_keeps_apart_on_every_system(system: str, tmp_path: Path) -> None:
    if system == "none":
        with waiting_lock(tmp_path / "thing"), waiting_lock(tmp_path / "thing"):
            return
    order: list[int] = []

    def work() -> None:
        with waiting_lock(tmp_path / "thing"):
            order.append(2)

    with waiting_lock(tmp_path / "thing"):
        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(0.3)
        order.append(1)
    thread.join()
    assert order == [1, 2]
    assert os.listdir(tmp_path) == []

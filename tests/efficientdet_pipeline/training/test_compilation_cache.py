"""Folder of compiled programs: damaged ones are removed, the oldest too, and errors are reported."""

import logging
import os
import time
from pathlib import Path

import pytest

from efficientdet_pipeline.training.compilation_cache import open_cache, write_checksums


def program(folder: Path, name: str, content: bytes = b"program", *, age: float = 0.0) -> Path:
    """Writes a program as JAX names it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-cache"
    path.write_bytes(content)
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_open_cache_creates_a_folder_that_only_its_owner_may_write(tmp_path: Path) -> None:
    opened = open_cache(tmp_path / "cache", "jax-1-cpu")
    assert opened.path == tmp_path / "cache/jax-1-cpu"
    assert not opened.error
    assert opened.path.stat().st_mode & 0o077 == 0


def test_open_cache_removes_damaged_programs_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole, damaged = program(tmp_path / "key", "whole"), program(tmp_path / "key", "damaged")
    write_checksums(tmp_path / "key")
    damaged.write_bytes(b"progrom")
    with caplog.at_level(logging.INFO, logger="absl"):
        open_cache(tmp_path, "key")
    assert whole.exists()
    assert sorted(path.name for path in whole.parent.iterdir()) == ["whole-cache", "whole-sha256"]
    (message,) = caplog.messages
    assert message.startswith("1 damaged files were removed from the compilation cache")


def test_open_cache_removes_what_a_killed_process_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    being_written = program(tmp_path / "key", "new")
    left = program(tmp_path / "key", "old", age=3600)
    with caplog.at_level(logging.INFO, logger="absl"):
        open_cache(tmp_path, "key")
    assert being_written.exists()
    assert not left.exists()
    assert caplog.messages == []


def test_open_cache_removes_the_least_recently_used_programs(tmp_path: Path) -> None:
    other = program(tmp_path / "other", "oldest", b"a" * 60, age=300)
    first, second = (
        program(tmp_path / "key", "first", b"b" * 60, age=200),
        program(tmp_path / "key", "second", b"c" * 60),
    )
    foreign = program(tmp_path / "key", "foreign", b"d" * 60, age=400)
    for path in (other, first, second):
        write_checksums(path.parent)
    foreign.with_name("foreign-sha256").unlink()
    os.utime(foreign)
    open_cache(tmp_path, "key", max_bytes=100)
    assert [path.exists() for path in (other, first, second)] == [False, False, True]
    assert foreign.exists(), "not known to be a program of this cache"


def test_open_cache_says_why_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert open_cache(tmp_path / "file", "key").error == "Not a directory"


def test_open_cache_of_another_process_writes_nothing(tmp_path: Path) -> None:
    opened = open_cache(tmp_path / "cache", "key", is_chief=False)
    assert not opened.error
    assert not opened.path.exists()

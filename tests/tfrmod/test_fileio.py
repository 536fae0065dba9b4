import os
from pathlib import Path

import pytest

from tfrmod import fileio


def test_fileio_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sub" / "a.txt"
    fileio.write_file(path, "old")

    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fileio, "sync", full)
    with pytest.raises(OSError, match="No space") as failure:
        fileio.write_file(path, "new")
    assert failure.value.filename == str(path)
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == ["a.txt"]


def test_fileio_notices_a_file_system_that_loses_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    fileio.write_file(path, "old")
    monkeypatch.setattr(fileio, "sync", lambda file: (file.flush(), os.truncate(file.name, 0)))
    with pytest.raises(OSError, match=r"kept 0 of 3 bytes that were written"):
        fileio.write_file(path, "new")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("a", "old")]


def test_fileio_staging_folder_goes_away_also_after_a_failure(tmp_path: Path) -> None:
    def fail_within() -> None:
        with fileio.staging_folder(tmp_path / "out") as folder:
            (folder / "half").write_text("x")
            assert folder.parent == tmp_path
            raise RuntimeError("in the midst")

    with pytest.raises(RuntimeError, match="midst"):
        fail_within()
    assert os.listdir(tmp_path) == []


def test_fileio_removes_partial_files_of_ended_processes_only(tmp_path: Path) -> None:
    dead, living = tmp_path / ".out.partial-999999999", tmp_path / f".out.partial-{os.getppid()}"
    strange = tmp_path / ".out.partial-notes"
    for folder in (dead, living, strange):
        folder.mkdir()
    with fileio.staging_folder(tmp_path / "out"):
        assert not dead.exists()
    assert living.exists()
    assert strange.exists()


def test_sha256_of_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert fileio.sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

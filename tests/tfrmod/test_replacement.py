"""Tests of atomic replacement with kills at every step."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tfrmod import replacement
from tfrmod.replacement import finish_replacement, replace_files

NAMES = ("graph", "labels", "model")
OLD, NEW = ({"graph": text, "labels": text, "model/weights": text} for text in ("old", "new"))
KILLED = """
import os, sys
from pathlib import Path
from tfrmod import replacement

after, exchanges = int(sys.argv[2]), sys.argv[3] == "True"
if not exchanges:
    replacement._exchanged = lambda first, second: False
count = 0

def counted(method):
    def counting(*arguments, **options):
        global count
        count += 1
        if count > after:
            os._exit(9)
        return method(*arguments, **options)
    return counting

for name in ("rename", "mkdir", "write_text", "unlink", "touch"):
    setattr(Path, name, counted(getattr(Path, name)))
replacement.fileio.shutil.rmtree = counted(replacement.fileio.shutil.rmtree)

def write(folder):
    (folder / "model").mkdir()
    for name in ("model/weights", "graph", "labels"):
        (folder / name).write_text("new")

replacement.replace_files(Path(sys.argv[1]), write, earlier=("graph", "labels", "model", "gone"))
"""


def write(text: str, *names: str) -> Callable[[Path], None]:
    def write_in(folder: Path) -> None:
        (folder / "model").mkdir()
        for name in ("model/weights", "graph", "labels", *names):
            (folder / name).write_text(text)

    return write_in


def contents(folder: Path) -> dict[str, str]:
    if not folder.exists():
        return {}
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(params=["alone", "next to others"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "export"
    replace_files(folder, write("old", "gone"), earlier=())
    if request.param == "next to others":
        (folder / "notes.txt").write_text("mine")
    return folder


def others(home: Path) -> dict[str, str]:
    return {"notes.txt": "mine"} if (home / "notes.txt").exists() else {}


def test_replacement_new_takes_the_place_of_the_old_and_others_stay(home: Path) -> None:
    kept = others(home)
    replace_files(home, write("new"), earlier=(*NAMES, "gone"))
    assert contents(home) == NEW | kept
    assert os.listdir(home.parent) == ["export"]


def test_replacement_without_an_exchange_by_the_system(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = others(home)
    monkeypatch.setattr(replacement, "_exchanged", lambda first, second: False)
    replace_files(home, write("new"), earlier=(*NAMES, "gone"))
    assert contents(home) == NEW | kept
    assert os.listdir(home.parent) == ["export"]


def test_replacement_folder_that_cannot_be_renamed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = others(home)
    monkeypatch.chdir(home)
    replace_files(Path("."), write("new"), earlier=(*NAMES, "gone"))
    assert contents(home) == NEW | kept
    replace_files(home, write("newest"), earlier=NAMES)
    assert contents(home)["graph"] == "newest"


def test_replacement_link_to_a_folder_stays_a_link(home: Path) -> None:
    link = home.parent.parent / "link"
    link.symlink_to(home)
    replace_files(link, write("new"), earlier=(*NAMES, "gone"))
    assert link.is_symlink()
    assert contents(home) == NEW | others(home)


def test_replacement_failed_writer_leaves_the_old(home: Path) -> None:
    before = contents(home)

    def fail(folder: Path) -> None:
        (folder / "graph").write_text("new")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        replace_files(home, fail, earlier=NAMES)
    assert contents(home) == before
    assert os.listdir(home.parent) == ["export"]


@pytest.mark.parametrize("exchanges", [True, False])
def test_replacement_killed_at_any_moment_it_is_never_mixed(home: Path, exchanges: bool) -> None:
    kept = others(home)
    old = {**OLD, "gone": "old", **kept}
    outcomes = []
    for after in range(99):
        command = [sys.executable, "-c", KILLED, str(home), str(after), str(exchanges)]
        killed = subprocess.run(command, check=False, capture_output=True, text=True)
        assert killed.returncode in (0, 9), killed.stderr
        finish_replacement(home)
        shown = {name: text for name, text in contents(home).items() if not name.startswith(".export.partial-")}
        assert shown in (old, NEW | kept)
        outcomes.append(shown == old)
        replace_files(home, write("old", "gone"), earlier=(*NAMES, "gone"))
        assert contents(home) == old
        assert set(os.listdir(home.parent)) <= {"export", ".export.lock"}
        if killed.returncode == 0:
            break
    assert outcomes[0]
    assert not outcomes[-1]
    assert len(outcomes) > 10

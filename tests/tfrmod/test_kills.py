"""A process killed at any step leaves nothing that the next one mistakes for whole."""

import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tfrmod.archive import MARKER, extract
from tfrmod.convert import ConvertOptions, convert
from tfrmod.errors import DatasetError
from tfrmod.manifest import Manifest

# Dies as if by kill -9 at the n-th change that it makes to the disk.
DYING = """
import os, pathlib, signal, sys
left = int(sys.argv[1])
def deadly(function):
    def wrapped(*args, **kwargs):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return wrapped
for name in ("replace", "rename", "unlink", "mkdir", "write_text"):
    setattr(pathlib.Path, name, deadly(getattr(pathlib.Path, name)))
os.fsync = deadly(os.fsync)
"""
CONVERTING = """
from tfrmod.convert import ConvertOptions, convert
folder, out, shards = sys.argv[2:5]
convert(pathlib.Path(folder), pathlib.Path(out), ConvertOptions(num_shards=int(shards)))
"""
EXTRACTING = """
from tfrmod.archive import extract
extract(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))
"""


def run(code: str, steps: int, *arguments: str | Path) -> bool:
    """Returns whether the process came to its end."""
    command = [sys.executable, "-c", DYING + code, str(steps), *map(str, arguments)]
    status = subprocess.run(command, check=False, capture_output=True).returncode
    assert status in (0, -signal.SIGKILL)
    return status == 0


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_conversion_killed_at_any_step(voc_folder, tmp_path: Path) -> None:
    folder = voc_folder.add_many(6).root
    out = tmp_path / "out"
    convert(folder, tmp_path / "expected", ConvertOptions(num_shards=2))
    expected = files_of(tmp_path / "expected")
    steps = 0
    while not run(CONVERTING, steps, folder, out, 2 + steps % 2):
        # Each life ends three steps later than the one before and asks for other shards, over what that one left.
        steps += 3
        if (out / "manifest.json").exists():
            Manifest.load(out).verify()
    assert steps > 20
    convert(folder, out, ConvertOptions(num_shards=2)).verify()
    assert files_of(out) == expected


def test_an_extraction_killed_at_any_step(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for number in range(5):
            file.writestr(f"d{number}/a.jpg", bytes(number))
    (tmp_path / "to").mkdir()
    out = tmp_path / "to" / "out"
    steps = 0
    while not run(EXTRACTING, steps, tmp_path / "a.zip", out):
        steps += 2
        if out.exists():
            assert len(files_of(out)) == 6
    assert steps > 8
    assert files_of(extract(tmp_path / "a.zip", out)).keys() == {MARKER, *(f"d{number}/a.jpg" for number in range(5))}
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_a_manifest_half_written_by_a_stranger_is_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"version": 1, "splits": {')
    with pytest.raises(DatasetError, match="not a manifest"):
        Manifest.load(tmp_path)

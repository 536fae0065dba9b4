"""Tests of kills at every step: the next process never takes partial files for complete ones."""

import contextlib
import functools
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tfrmod.archive import MARKER, extract
from tfrmod.convert import ConvertOptions, convert
from tfrmod.download import cache_path, fetch
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
DOWNLOADING = """
from tfrmod.download import fetch
fetch(sys.argv[2], pathlib.Path(sys.argv[3]))
"""


def run(code: str, steps: int, *arguments: str | Path) -> bool:
    """Returns whether the process came to its end."""
    command = [sys.executable, "-c", DYING + code, str(steps), *map(str, arguments)]
    status = subprocess.run(command, check=False, capture_output=True).returncode
    assert status in (0, -signal.SIGKILL)
    return status == 0


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_kills_conversion_killed_at_any_step(voc_folder, tmp_path: Path) -> None:
    folder = voc_folder.add_many(6).root
    out = tmp_path / "out"
    convert(folder, tmp_path / "expected", ConvertOptions(num_shards=2))
    expected = files_of(tmp_path / "expected")
    steps = 0
    while not run(CONVERTING, steps, folder, out, 2 + steps % 2):
        # Each life ends some steps later than the one before and asks for other shards, over what that one left.
        steps += 5
        if (out / "manifest.json").exists():
            Manifest.load(out).verify()
    assert steps > 20
    convert(folder, out, ConvertOptions(num_shards=2)).verify()
    assert files_of(out) == expected


def test_kills_extraction_killed_at_any_step(tmp_path: Path) -> None:
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
    assert {path.name for path in out.parent.iterdir()} <= {"out", ".out.lock"}


def test_kills_download_killed_at_any_step(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    content = bytes(range(256)) * 999
    (tmp_path / "served" / "a.zip").write_bytes(content)
    handler = functools.partial(QuietHandler, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        url, cache, steps = f"http://127.0.0.1:{server.server_address[1]}/a.zip", tmp_path / "cache", 0
        while not run(DOWNLOADING, steps, url, cache):
            steps += 2
            whole = cache_path(url, cache)
            if whole.with_name(f"{whole.name}.json").exists():
                assert whole.read_bytes() == content
        assert steps > 5
        assert fetch(url, cache).read_bytes() == content
        server.shutdown()
    whole = cache_path(url, cache)
    assert {path.name for path in cache.iterdir()} == {whole.name, f"{whole.name}.json"}


WHOLE_WAY = """
import pathlib, sys
from tfrmod import convert
from tfrmod.archive import extract
from tfrmod.download import fetch
if __name__ == "__main__":
    url, root = sys.argv[1], pathlib.Path(sys.argv[2])
    convert._FEW_BYTES = 0
    folder = extract(fetch(url, root / "cache"), root / "data")
    convert.convert(folder, root / "out", convert.ConvertOptions(num_workers=2, num_shards=3))
"""


@pytest.mark.parametrize("kills", [6, pytest.param(50, marks=pytest.mark.slow)])
def test_kills_random_kills_from_the_download_to_the_last_shard(voc_folder, tmp_path: Path, kills: int) -> None:
    voc_folder.add_many(90)
    (tmp_path / "served").mkdir()
    (tmp_path / "way.py").write_text(WHOLE_WAY)
    shutil.make_archive(str(tmp_path / "served" / "a"), "zip", voc_folder.root)
    handler = functools.partial(QuietHandler, directory=str(tmp_path / "served"))
    rng = random.Random(kills)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        command = [sys.executable, str(tmp_path / "way.py"), f"http://127.0.0.1:{server.server_address[1]}/a.zip"]
        began = time.monotonic()
        subprocess.run([*command, str(tmp_path / "whole")], check=True)
        seconds = time.monotonic() - began
        root, killed = tmp_path / "killed", 0
        for number in range(kills):
            with subprocess.Popen([*command, str(root)], stderr=subprocess.DEVNULL) as process:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=seconds * (number + rng.random()) / kills)
                process.kill()
            killed += process.returncode == -signal.SIGKILL
            if (root / "out" / "manifest.json").exists():
                Manifest.load(root / "out").verify()
            if process.returncode == 0:
                shutil.rmtree(root)
        subprocess.run([*command, str(root)], check=True)
        server.shutdown()
    assert killed > 0
    assert files_of(root / "out") == files_of(tmp_path / "whole" / "out")


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_kills_manifest_half_written_by_a_stranger_is_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"version": 1, "splits": {')
    with pytest.raises(DatasetError, match="not a manifest"):
        Manifest.load(tmp_path)

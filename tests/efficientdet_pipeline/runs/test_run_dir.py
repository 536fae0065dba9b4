"""Two processes cannot write the same run."""

import subprocess
import sys
from pathlib import Path

import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.runs.run_dir import locked

HOLDER = """
import sys
from pathlib import Path
from efficientdet_pipeline.runs.run_dir import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_run_held_by_another_process_is_refused_until_that_ends(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    folder = tmp_path / "run"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        said = rf"Another process \({holder.pid}\) is using the run .*--run_name"
        with pytest.raises(OptionsError, match=said), locked(folder):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with locked(folder):  # The killed process has released the lock.
        assert (folder / ".lock").exists()


def test_the_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    with locked(tmp_path):
        assert (tmp_path / ".lock").read_text().isdigit()


def test_a_file_where_the_folder_must_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(FileExistsError), locked(tmp_path / "run"):
        pass

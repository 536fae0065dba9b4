"""What every test shares: a quiet TensorFlow and the folder of real data."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest

# A shell that starts the tests in the background lets them ignore Ctrl-C, and the programs that they start as well.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Returns the folder of real data sets, or skips the test and says why."""
    folder = os.environ.get("EFFICIENTDET_TEST_DATA")
    if not folder:
        pytest.skip("EFFICIENTDET_TEST_DATA is not set: it names the folder of real data sets")
    path = Path(folder)
    if not path.is_dir():
        pytest.skip(f"EFFICIENTDET_TEST_DATA={folder} is not a folder")
    return path


@pytest.fixture(scope="session")
def num_unchanged() -> Callable[[Path], int]:
    """Returns a function: folder of an export → number of its files, which have the checksums that it lists."""

    def count(folder: Path) -> int:
        done = subprocess.run(
            ["sha256sum", "--check", "sha256sums.txt"], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout
        return len(done.stdout.splitlines())

    return count

"""Runs the program as a user does: its own process, its own folder, no network."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def run(home: Path) -> Run:
    """Returns a function that runs a script of the repository with arguments, in the folder `home`."""

    def run_script(
        *arguments: str, script: str = "main.py", timeout: float = 600, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ}
        return subprocess.run(
            [sys.executable, str(ROOT / script), *arguments],
            cwd=home,
            env={**kept, "HOME": str(home), **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run_script

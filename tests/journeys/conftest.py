"""Runs the program as a user does: its own process, its own folder, no network."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# So small that a step takes a few hundredths of a second, and its building little more.
SMALL_NETWORK = """
fpn_num_filters: 8
fpn_cell_repeats: 1
box_class_repeats: 1
survival_prob: 0.8
backbone_config:
  blocks:
    - r1_k3_s11_e1_i32_o8_se0.25
    - r1_k3_s22_e1_i8_o8_se0.25
    - r2_k3_s22_e1_i8_o8_se0.25
    - r1_k3_s22_e1_i8_o8_se0.25
    - r1_k3_s22_e1_i8_o8_se0.25
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def small_network(home: Path) -> str:
    """Returns the option that makes the network small, by a file in the folder `home`."""
    (home / "small_network.yaml").write_text(SMALL_NETWORK)
    return "--hparams=small_network.yaml"


def _environment(home: Path, more: dict[str, str]) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ}
    return {**kept, "HOME": str(home), **more}


@pytest.fixture(scope="session")
def start(home: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """Returns a function that starts main.py with arguments in the folder `home`, and does not wait."""

    def start_main(*arguments: str, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, str(ROOT / "main.py"), *arguments],
            cwd=home,
            env=_environment(home, environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start_main


@pytest.fixture(scope="session")
def run(home: Path) -> Run:
    """Returns a function that runs a script of the repository with arguments, in the folder `home`."""

    def run_script(
        *arguments: str, script: str = "main.py", timeout: float = 600, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / script), *arguments],
            cwd=home,
            env=_environment(home, environment),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run_script

"""Two devices that share a batch take the step that one would have taken."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "two_devices.py"


def test_two_devices_train_as_one() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    losses = json.loads(done.stdout.splitlines()[-1])
    assert losses["two"] == pytest.approx(losses["one"], rel=1e-5)
    assert losses["weights"] < 1e-5

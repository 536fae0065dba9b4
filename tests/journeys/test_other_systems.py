"""Windows and macOS lack fcntl, resource, /proc, SIGKILL and more: no step from images to detections needs them.

`without_posix/sitecustomize.py` takes these from our packages in every process; the test runs on Linux all the same.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from efficientdet_pipeline.demo_dataset import write_demo_dataset

ROOT = Path(__file__).resolve().parents[2]
PYTHONPATH = [ROOT / "tests/journeys/without_posix", ROOT, ROOT / "third_party/automl"]
SMALL = (
    *("--model_name=efficientdet-lite0", "--hparams=fpn_cell_repeats=1,box_class_repeats=1", "--image_size=64"),
    *("--pretrained_ckpt=none", "--num_epochs=1", "--batch_size=4", "--num_workers=2", "--keep=1"),
)
IMPORT_ALL = """
import importlib, pkgutil, sys
import efficientdet, efficientdet_pipeline, tfrmod

try:
    import fcntl
except ImportError:
    pass
else:
    sys.exit("the system is complete")
for package in (efficientdet, efficientdet_pipeline, tfrmod):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__") and module.name != "tfrmod.beam":
            importlib.import_module(module.name)
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, PYTHONPATH)), "HOME": str(tmp_path)}

    def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return run_python


def test_every_module_is_imported_without_posix(run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = run("-c", IMPORT_ALL)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("is_short", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_images_become_detections_without_posix(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, is_short: bool
) -> None:
    images = write_demo_dataset(tmp_path / "images.zip", num_images=12, image_size=(64, 64))
    main = str(ROOT / "main.py")
    steps = [
        ("--mode=traineval", f"--url_dataset={images}", "--run_name=x", *SMALL, "--path_output=exported"),
        # Continued: the lock, the markers and the checkpoints of the first are found again.
        ("--mode=traineval", f"--url_dataset={images}", "--run_name=x", *SMALL, "--num_epochs=2"),
        ("--mode=eval", "--run_name=x"),
        ("--mode=export", "--run_name=x", "--path_output=exported"),
        ("--mode=infer", "--saved_model_dir=exported", "--input_image=runs/x/pictures", "--output_image_dir=out"),
    ]
    for step in (steps[0], steps[-1]) if is_short else steps:
        done = run(main, *step)
        assert done.returncode == 0, f"{step}: {done.stderr}{done.stdout[-2000:]}"
        assert "Traceback" not in done.stderr
    assert (tmp_path / "out" / "detections.json").is_file()
    assert not list(tmp_path.glob("**/*.partial-*"))

"""A run that version 0.1 began is evaluated and continued as that version would have."""

import csv
import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

ARCHIVE = Path(__file__).with_name("run_of_version_0_1.tar.xz")
"""A tiny network after one epoch of five steps, with its shards: written by version 0.1."""
OPTIONS = (
    "--mode=traineval",
    "--train_file_pattern=shards/train-*",
    "--val_file_pattern=shards/val-*",
    "--model_name=efficientdet-lite0",
    "--hparams=network.yaml",
    "--image_size=64",
    "--pretrained_ckpt=none",
    "--batch_size=2",
    "--map_freq=1",
    "--mosaic=0.5",
    "--model_dir=run",
    "--nodoctor",
)
EPOCH_2 = {
    "step": 10,
    "learning_rate": 0.000238729,
    "loss": 2.35076,
    "class_loss": 1.10035,
    "box_loss": 0.0248208,
    "reg_l2_loss": 0.00936514,
    "gradient_norm": 12.9236,
    "AP": 0.0,
}
"""The second row of results.csv, where version 0.1 itself continued the run.

Version 0.1 decoded JPEGs with the fast integer DCT, other versions with the accurate one. These numbers are
those of version 0.1 with the accurate DCT and no other change; its own were loss 2.3983, class_loss 1.10008,
box_loss 0.0257771 and gradient_norm 15.4906.
"""


@pytest.fixture
def earlier_run(home: Path) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        # Python before 3.11.4 has no filters.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(home)
    shutil.rmtree(home / "run", ignore_errors=True)
    shutil.copytree(home / "pack", home, dirs_exist_ok=True)
    return home / "run"


def test_run_of_an_earlier_version_is_evaluated_and_continued(earlier_run: Path, run: Run) -> None:
    evaluated = run("--mode=eval", "--model_dir=run")
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads((earlier_run / "metrics_eval.json").read_text(encoding="utf-8"))["epoch"] == 1
    continued = run(*OPTIONS, "--num_epochs=2")
    assert continued.returncode == 0, continued.stderr
    assert "Resuming after 1 epoch." in continued.stdout
    with (earlier_run / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    # Another processor rounds differently, which the gradient's norm amplifies most.
    found = {name: float(rows[1][name]) for name in EPOCH_2}
    assert found.pop("gradient_norm") == pytest.approx(EPOCH_2["gradient_norm"], rel=0.02)
    assert found == pytest.approx({name: EPOCH_2[name] for name in found}, rel=1e-3)


def test_run_of_an_earlier_version_refuses_other_options(earlier_run: Path, run: Run) -> None:
    refused = run(*OPTIONS, "--num_epochs=2", "--learning_rate=0.01")
    assert refused.returncode == 2
    assert "learning_rate: 0.08 then, 0.01 now" in refused.stderr

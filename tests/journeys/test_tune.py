"""--mode=tune on a few drawn images: two trials, a table, a picture, and options to train with."""

import csv
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="optuna is not installed: pip install 'efficientdet-pipeline[tune]'")


def test_tune_trains_two_trials(
    run: Callable[..., subprocess.CompletedProcess[str]], small_network: str, home: Path
) -> None:
    (home / "space.yaml").write_text(
        "learning_rate: {low: 1e-3, high: 1e-2, log: true}\nhparams.box_class_repeats: [1, 2]\n"
    )
    small = ("--image_size=64", "--pretrained_ckpt=none", "--batch_size=4", "--num_images=16", "--num_epochs=1")
    network = (home / "small_network.yaml").read_text().replace("box_class_repeats: 1\n", "")
    (home / "tuned_network.yaml").write_text(network)
    options = ("--mode=tune", "--space=space.yaml", "--url_dataset=demo", "--hparams=tuned_network.yaml", *small)
    done = run(*options, "--num_trials=2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 complete, 0 pruned, 0 failed" in done.stdout
    with open(home / "tuning" / "trials.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["complete", "complete"]
    assert {"trials.csv", "study.png", "best.config", "tfrecords"} <= {
        path.name for path in (home / "tuning").iterdir()
    }
    assert not list((home / "tuning").rglob("saved_model.pb"))
    # The same command has nothing left to do.
    again = run(*options, "--num_trials=2")
    assert (again.returncode, again.stdout.count("Best trial: ")) == (0, 1)
    assert "Trial " not in again.stdout

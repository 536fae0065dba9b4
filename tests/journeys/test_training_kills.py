"""Twenty kills at random moments of a real training leave the run that was never killed, bit for bit."""

import csv
import json
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from efficientdet_pipeline.demo_dataset import write_demo_dataset

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., "subprocess.Popen[str]"]

pytestmark = pytest.mark.usefixtures("small_network")

KILLS = 20
STEPS = 200
# Everything that draws by chance is on, and what changes the loss or the rate of a step.
OPTIONS = (
    "--url_dataset=kill_photos.zip",
    "--train_valid_split=0.8",
    "--model_name=efficientdet-lite0",
    "--hparams=small_network.yaml",
    "--image_size=64",
    "--pretrained_ckpt=none",
    "--batch_size=2",
    "--num_epochs=10",
    "--num_examples_per_epoch=40",
    "--map_freq=3",
    "--autoaugment_policy=v1",
    "--mosaic=0.5",
    "--mixup=0.2",
    "--copy_paste=0.3",
    "--hsv_hue=0.02",
    "--class_balance=0.5",
    "--close_mosaic=2",
    "--class_loss=quality_focal",
    "--lr_hold_epoch=2",
    "--lr_layer_decay=0.8",
    "--assigner=atss",
    "--val_loss",
)
CLOCKS = {"seconds", "photos_per_second", "data_wait"}


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open() as file:
        return [{name: value for name, value in row.items() if name not in CLOCKS} for row in csv.DictReader(file)]


def arrays(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "checkpoints/last/state.npz") as state:
        return {name: state[name] for name in state.files}


def step_saved(folder: Path) -> int:
    try:
        return json.loads((folder / "checkpoints/last/checkpoint.json").read_text())["step"]
    except (FileNotFoundError, ValueError):
        return 0


@pytest.mark.slow
def test_killed_twenty_times_it_is_the_same_run(run: Run, start: Start, home: Path) -> None:
    write_demo_dataset(home / "kill_photos.zip", num_images=50, image_size=(72, 64))
    whole = run(*OPTIONS, "--run_name=whole")
    assert whole.returncode == 0, whole.stderr
    killed, chance = home / "runs" / "killed", random.Random(7)
    for number in range(KILLS):
        after = max(1, round(STEPS * 0.9 * number / KILLS))
        # Saved every few steps, so that kills meet the writing too.
        process = start(*OPTIONS, "--run_name=killed", "--save_freq=3")
        while process.poll() is None and step_saved(killed) < after:
            time.sleep(0.02)
        time.sleep(chance.random())
        assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGKILL)
        process.communicate()
    last = run(*OPTIONS, "--run_name=killed", "--save_freq=3")
    assert last.returncode == 0, last.stderr
    ours, theirs = arrays(killed), arrays(home / "runs" / "whole")
    assert ours.keys() == theirs.keys()
    assert not [name for name in theirs if not np.array_equal(ours[name], theirs[name])]
    assert rows(killed) == rows(home / "runs" / "whole")
    best = "checkpoints/best/model.weights.h5"
    assert (killed / best).read_bytes() == (home / "runs" / "whole" / best).read_bytes()

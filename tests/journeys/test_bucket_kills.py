"""Ten kills at random moments of a training in a bucket leave the run that was trained locally, bit for bit."""

import json
import random
import shutil
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import numpy as np
import pytest
from bucket_emulators import EMULATORS, set_in_environment
from warm_program import start_warm

from efficientdet_pipeline.demo_dataset import write_demo_dataset
from efficientdet_pipeline.storage.mirror import RunMirror
from efficientdet_pipeline.storage.object_store import ObjectStore, open_store

Start = Callable[..., ForkServerProcess]

KILLS = 10
STEPS = 24
OPTIONS = (
    "--train_valid_split=0.8",
    "--model_name=efficientdet-lite0",
    "--hparams=small_network.yaml",
    "--image_size=64",
    "--pretrained_ckpt=none",
    "--batch_size=2",
    "--num_epochs=4",
    "--num_examples_per_epoch=12",
    "--map_freq=2",
    "--mosaic=0.5",
    "--class_balance=0.5",
    "--formats=none",
    "--noanalysis",
)
CLOCKS = ("seconds", "photos_per_second", "data_wait")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the working folder of all processes, with the images."""
    found = tmp_path_factory.mktemp("home")
    write_demo_dataset(found / "bucket.zip", num_images=30, image_size=(72, 64))
    return found


@pytest.fixture(scope="module")
def start(folder: Path) -> Start:
    """Returns a function that starts a training; it does not wait."""

    def start_training(*arguments: str, **environment: str) -> ForkServerProcess:
        environment["HOME"] = str(folder)
        return start_warm([*OPTIONS, *arguments], folder=folder, environment=environment, output=folder / "output.txt")

    return start_training


@pytest.fixture(scope="module")
def local(start: Start, folder: Path, small_network: str, home: Path) -> Path:
    """Returns the run that was trained in a folder of this machine and never killed."""
    shutil.copy(home / "small_network.yaml", folder)
    process = start("--url_dataset=bucket.zip", "--run_name=local")
    process.join()
    assert process.exitcode == 0, (folder / "output.txt").read_text()
    return folder / "runs" / "local"


@pytest.fixture(params=sorted(EMULATORS))
def service(request: pytest.FixtureRequest) -> Iterator[tuple[str, dict[str, str], ObjectStore]]:
    """Yields the address of an emulated bucket, the environment that a program needs for it, and its store."""
    with EMULATORS[request.param]() as environment, set_in_environment(environment):
        url = f"{request.param}://bucket"
        yield url, environment, open_store(url)


def arrays(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "checkpoints/last/state.npz") as state:
        return {name: state[name] for name in state.files}


def rows(folder: Path) -> list[list[str]]:
    names, *lines = (line.split(",") for line in (folder / "results.csv").read_text().splitlines())
    return [[each for name, each in zip(names, line, strict=True) if name not in CLOCKS] for line in [names, *lines]]


def step_stored(store: ObjectStore, url: str) -> int:
    """Returns the step of the last checkpoint that a reader of the bucket finds."""
    manifest = store.read(f"{url}/run-manifest.json")
    key = json.loads(manifest)["files"].get("checkpoints/last/checkpoint.json", {}).get("key") if manifest else None
    # Between the two readings a newer checkpoint may have taken its place.
    marker = store.read(f"{url}/{key}") if key else None
    return json.loads(marker)["step"] if marker else 0


@pytest.mark.slow
def test_killed_ten_times_a_run_in_a_bucket_is_that_of_a_local_training(
    service: tuple[str, dict[str, str], ObjectStore], start: Start, local: Path, folder: Path, tmp_path: Path
) -> None:
    bucket, environment, store = service
    store.upload(folder / "bucket.zip", f"{bucket}/data/bucket.zip")
    url, cache, chance = f"{bucket}/runs/killed", tmp_path / "cache", random.Random(11)
    command = (
        f"--url_dataset={bucket}/data/bucket.zip",
        f"--workspace={bucket}/runs",
        "--run_name=killed",
        "--save_freq=2",
        f"--cache_dir={cache}",
    )
    steps = []
    for number in range(KILLS):
        process = start(*command, **environment)
        if number % 2 == 0:  # While it starts, fetches the run or converts the images.
            time.sleep(chance.uniform(0.5, 15))
        after = round(STEPS * 0.7 * number / KILLS) if number % 2 else 0
        while process.is_alive() and step_stored(store, url) < after:
            time.sleep(0.3)
        time.sleep(chance.random())
        assert process.is_alive(), (folder / "output.txt").read_text()
        process.kill()
        process.join()
        steps.append(step_stored(store, url))
        print(f"{bucket}: kill {number + 1}, with the checkpoint of step {steps[-1]} stored", flush=True)
        if number % 4 > 1:
            shutil.rmtree(cache, ignore_errors=True)  # Another machine goes on.
    assert steps == sorted(steps)
    assert steps[-1] < STEPS
    last = start(*command, **environment)
    last.join()
    assert last.exitcode == 0, (folder / "output.txt").read_text()
    found = RunMirror(store, url, tmp_path / "found")
    assert found.pull()
    ours, theirs = arrays(found.folder), arrays(local)
    assert ours.keys() == theirs.keys()
    assert not [name for name in theirs if not np.array_equal(ours[name], theirs[name])]
    assert rows(found.folder) == rows(local)
    for name in ("checkpoints/best/model.weights.h5", "checkpoints/last/model.weights.h5"):
        assert (found.folder / name).read_bytes() == (local / name).read_bytes()
    assert store.read(f"{url}/results.csv") == (found.folder / "results.csv").read_bytes()
    # Nothing of what the killed processes began is left.
    listed = json.loads(store.read(f"{url}/run-manifest.json") or b"")["files"].values()
    assert {f"objects/{each.key}" for each in store.list(f"{url}/objects")} == {each["key"] for each in listed}

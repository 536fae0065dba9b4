"""Killed at random moments, from the download to the export, a run ends as the one that was never killed."""

import csv
import http.server
import json
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from efficientdet_pipeline.demo_dataset import write_demo_dataset

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., "subprocess.Popen[str]"]

pytestmark = pytest.mark.usefixtures("small_network")

STEPS_PER_EPOCH, EPOCHS = 6, 2
PHASES = ("download", "conversion", "training", "checkpoint", "evaluation", "export")
"""In the order of a run: a later phase cannot be killed in an earlier one."""
OPTIONS = (
    "--mode=traineval",
    "--train_valid_split=0.95",
    "--model_name=efficientdet-lite0",
    "--hparams=small_network.yaml",
    "--image_size=96",
    "--pretrained_ckpt=none",
    "--batch_size=2",
    f"--num_epochs={EPOCHS}",
    f"--num_examples_per_epoch={2 * STEPS_PER_EPOCH}",
    "--map_freq=1",
    "--save_freq=1",
    "--mosaic=0.5",
)
CLOCKS = {"seconds", "photos_per_second", "data_wait"}
PASSING = re.compile(r"(^|/)\.lock$|tfevents")
"""Files that differ from start to start: the lock that every process leaves, and TensorBoard's one file a start."""


class SlowServer(http.server.ThreadingHTTPServer):
    """Sends one file in small pieces, so that there is time to kill its receiver."""

    def __init__(self, content: bytes) -> None:
        self.content, self.requests_begun = content, 0
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/kill_images.zip"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: SlowServer

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.server.requests_begun += 1
        piece = len(self.server.content) // 20 + 1
        try:
            for begin in range(0, len(self.server.content), piece):
                self.wfile.write(self.server.content[begin : begin + piece])
                time.sleep(0.05)
        except OSError:  # The receiver was killed.
            pass

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def server(home: Path) -> Iterator[SlowServer]:
    path = write_demo_dataset(home / "kill_images.zip", num_images=300, image_size=(96, 80))
    server = SlowServer(path.read_bytes())
    yield server
    server.shutdown()
    server.server_close()


def step_saved(folder: Path) -> int:
    try:
        return json.loads((folder / "checkpoints/last/checkpoint.json").read_text())["step"]
    except (FileNotFoundError, ValueError):
        return 0


def lines(folder: Path, words: str) -> int:
    log = folder / "log.txt"
    return log.read_text(encoding="utf-8").count(words) if log.exists() else 0


class Killer:
    """Waits for a phase of a run, and a random while within it."""

    def __init__(self, folder: Path, server: SlowServer, seed: int) -> None:
        self.folder, self.server, self.chance = folder, server, random.Random(seed)

    def kill_in(self, phase: str, process: "subprocess.Popen[str]") -> bool:
        """Returns whether the process was killed; one that ended before, well or ill, was not."""
        is_there = self._begins(phase)
        while process.poll() is None and not is_there():
            time.sleep(0.002 if phase == "checkpoint" else 0.02)
        longest = {"download": 1.0, "conversion": 0.5, "training": 9.0, "checkpoint": 0.05}
        time.sleep(self.chance.random() * longest.get(phase, 3.0))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()
        return process.returncode == -signal.SIGKILL

    def _begins(self, phase: str) -> Callable[[], bool]:
        folder, begun = self.folder, self.server.requests_begun
        trained, exported = lines(folder, "Training 2 epochs"), lines(folder, "Exporting the best")
        step = step_saved(folder)
        end_of_epoch = min(STEPS_PER_EPOCH * (step // STEPS_PER_EPOCH + 1), STEPS_PER_EPOCH * EPOCHS)
        signs: dict[str, Callable[[], bool]] = {
            "download": lambda: self.server.requests_begun > begun,
            # What was converted before a kill is not converted again: then the training is killed as it begins.
            "conversion": lambda: (folder / "tfrecords/.conversion").exists() or lines(folder, "Training 2") > trained,
            "training": lambda: lines(folder, "Training 2 epochs") > trained,
            "checkpoint": lambda: (folder / "checkpoints/.last.new").exists() and step_saved(folder) > step,
            "evaluation": lambda: step_saved(folder) >= end_of_epoch and lines(folder, "Training 2 epochs") > trained,
            "export": lambda: lines(folder, "Exporting the best") > exported,
        }
        return signs[phase]


def arrays(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "checkpoints/last/state.npz") as state:
        return {name: state[name] for name in state.files}


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open() as file:
        return [{name: value for name, value in row.items() if name not in CLOCKS} for row in csv.DictReader(file)]


def names(folder: Path) -> set[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name for name in found if not PASSING.search(name)}


def served_nodes(folder: Path) -> list[tuple[str, bytes]]:
    """Returns each node of the SavedModel as `frozen_nodes` does; its weights are constants."""
    from tensorflow.core.protobuf import saved_model_pb2

    content = (folder / "export/saved_model/saved_model.pb").read_bytes()
    library = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0].graph_def.library
    nodes = [node for function in library.function for node in function.node_def]
    values = (node.attr["value"].SerializeToString(deterministic=True) for node in nodes)
    return sorted(zip((node.op for node in nodes), values, strict=True))


def frozen_nodes(folder: Path) -> list[tuple[str, bytes]]:
    """Returns each node's operation, and a constant's value; names and order count what a process built before."""
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef.FromString(next((folder / "export").glob("*_frozen.pb")).read_bytes())
    values = (node.attr["value"].SerializeToString(deterministic=True) for node in graph.node)
    return sorted(zip((node.op for node in graph.node), values, strict=True))


def assert_same(killed: Path, whole: Path) -> None:
    ours, theirs = arrays(killed), arrays(whole)
    assert ours.keys() == theirs.keys()
    assert not [name for name in theirs if not np.array_equal(ours[name], theirs[name])]
    assert rows(killed) == rows(whole)
    assert json.loads((killed / "metrics.json").read_text()) == json.loads((whole / "metrics.json").read_text())
    assert names(killed) == names(whole)
    same = re.compile(r"tfrecords/|checkpoints/best/.*h5|pictures/|results\.png")
    bit_by_bit = [name for name in names(whole) if same.match(name)]
    bit_by_bit += ["export/label_map.yaml", "export/hparams_config.yaml"]
    assert len(bit_by_bit) > 5
    assert not [name for name in bit_by_bit if (killed / name).read_bytes() != (whole / name).read_bytes()]
    assert any(op == "Const" and len(value) > 1000 for op, value in served_nodes(whole))
    assert served_nodes(killed) == served_nodes(whole)
    assert frozen_nodes(killed) == frozen_nodes(whole)


def ends_the_same(phases: list[str], server: SlowServer, run: Run, start: Start, home: Path, *, seed: int) -> int:
    """Returns how many kills there were, after showing that they changed nothing."""
    common = (*OPTIONS, f"--url_dataset={server.address}")
    whole = run(*common, "--run_name=whole", "--cache_dir=cache_whole")
    assert whole.returncode == 0, whole.stderr
    killer, num_kills = Killer(home / "runs/killed", server, seed), 0
    for phase in phases:
        num_kills += killer.kill_in(phase, start(*common, "--run_name=killed", "--cache_dir=cache_killed"))
    last = run(*common, "--run_name=killed", "--cache_dir=cache_killed")
    assert last.returncode == 0, last.stderr
    assert_same(home / "runs/killed", home / "runs/whole")
    assert names(home / "cache_killed") == names(home / "cache_whole")
    return num_kills


def test_killed_in_three_phases_it_ends_the_same(server: SlowServer, run: Run, start: Start, home: Path) -> None:
    assert ends_the_same(["download", "checkpoint", "export"], server, run, start, home, seed=1) >= 2


@pytest.mark.slow
def test_killed_twenty_times_it_ends_the_same(server: SlowServer, run: Run, start: Start, home: Path) -> None:
    phases = sorted((PHASES * 4)[:20], key=PHASES.index)
    assert ends_the_same(phases, server, run, start, home, seed=7) >= 18

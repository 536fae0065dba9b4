"""Fuzz tests of damaged checkpoints: an error message, or finite weights.

TensorFlow and HDF5 read them in C++, so a separate process does it: a crash is
detected, and its memory is measured.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from efficientdet.checkpoint import save_checkpoint

ROOT = Path(__file__).resolve().parents[3]
PYTHONPATH = os.pathsep.join(map(str, (ROOT / "third_party/automl", ROOT / "tests/support")))
# {kind: (format, what is loaded, the files to break)}.
KINDS = {
    "bundle tf1 index": ("tf1", "model.ckpt", "model.ckpt.index"),
    "bundle tf1 data": ("tf1", "model.ckpt", "model.ckpt.data-00000-of-00001"),
    "bundle state": ("tf1", "", "checkpoint"),
    "hdf5 automl": ("h5", "model.h5", "model.h5"),
    "hdf5 keras": ("keras", "model.weights.h5", "model.weights.h5"),
    "tar": ("tf1", "model.tar.gz", "model.tar.gz"),
}
NUM_QUICK, NUM_SLOW = 30, 10_000
SCRIPT = r"""
import functools, json, os, random, resource, shutil, sys, time
from pathlib import Path

import numpy as np

saved, kinds, first, count = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
import efficientdet
from efficientdet.checkpoint import tf_bundle as bundles, hdf5, load, load_checkpoint
from efficientdet.errors import CheckpointError
from audit_watch import Watch
from byte_mutations import mutated_bytes

model = efficientdet.build_model(efficientdet.get_config("efficientdet-d0").override(json.loads(sys.argv[5])))
# These depend on the model alone.
hdf5.dataset_keys = functools.cache(hdf5.dataset_keys)
hdf5.variable_names = bundles.variable_names = functools.cache(hdf5.variable_names)
assigned = {}

class Variable:
    # Takes values as a Keras variable does, in a thousandth of the time.

    def __init__(self, name, shape):
        self.name, self.shape = name, shape

    def assign(self, value):
        assert value.shape == self.shape and np.isfinite(value).all(), self.name
        assigned[self.name] = value

variables = {name: Variable(name, tuple(each.shape)) for name, each in hdf5.variable_names(model).items()}
load.variable_names = lambda _: variables
results = {}
root = saved / f"run{os.getpid()}"

watch = Watch(root, ignores_relative_removal=True)
NASTY = [
    b"\xff" * 8, b"\x7f\xff\xff\xff", b"\0" * 8, b"\xff\xff\xff\xff\x0f", b"\x80" * 9 + b"\x01", b"\0",
    b"../../../etc/passwd", b"/etc/passwd", b"TREE", b"SNOD", b"HEAP", b"OHDR", b"GCOL",
    b"\x89HDF\r\n\x1a\n", b"\x1f\x8b",
]

def mutated(whole, chance):
    return mutated_bytes(whole, chance, NASTY, near=(4096, 256), from_start=0.5)

os.makedirs(root, exist_ok=True)
for kind, (format, place, name) in kinds.items():
    source = saved / format
    whole = (source / name).read_bytes()
    slowest, loaded, refused = 0.0, 0, 0
    load_checkpoint(model, source / place if place else source, cache_dir=root / "cache")
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(first, first + count):
        print(json.dumps({"kind": kind, "number": number}), flush=True)  # Where a crash stood.
        folder = root / "x"
        shutil.copytree(source, folder)
        (folder / name).write_bytes(mutated(whole, random.Random(number)))
        assigned.clear()
        start = time.process_time()
        watch.is_on = True
        try:
            load_checkpoint(model, folder / place if place else folder, cache_dir=folder / "cache")
            loaded += 1
        except (CheckpointError, FileNotFoundError):
            refused += 1
            assert not assigned, (kind, number)
        finally:
            watch.is_on = False
        slowest = max(slowest, time.process_time() - start)
        shutil.rmtree(folder)
        assert not watch.found, (kind, number, watch.found)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) * 1024
    results[kind] = {"loaded": loaded, "refused": refused, "slowest": slowest, "grown": grown}
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def small_hparams() -> str:
    stages = ["r1_k3_s11_e1_i32_o8_se0.25", "r1_k3_s22_e2_i8_o8_se0.25", *["r1_k3_s22_e2_i8_o16_se0.25"] * 3]
    small = {"num_classes": 3, "image_size": 64, "fpn_num_filters": 8, "fpn_cell_repeats": 1, "box_class_repeats": 1}
    return json.dumps({**small, "backbone_config": {"blocks": stages}})


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, small_hparams: str) -> Path:
    """Returns a folder with a folder for each format."""
    import tarfile

    import efficientdet

    root = tmp_path_factory.mktemp("checkpoints")
    model = efficientdet.build_model(efficientdet.get_config("efficientdet-d0").override(json.loads(small_hparams)))
    for format, place, _ in KINDS.values():
        if place and not place.endswith(".gz"):
            save_checkpoint(model, root / format / place, format=format)
    (root / "tf1" / "checkpoint").write_text('model_checkpoint_path: "model.ckpt"\nall_model_checkpoint_paths: "x"\n')
    with tarfile.open(root / "tf1" / "model.tar.gz", "w:gz") as tar:
        for path in sorted((root / "tf1").glob("model.ckpt*")):
            tar.add(path, f"m/{path.name}")
    return root


def run(saved: Path, kinds: list[str], small_hparams: str, first: int, count: int) -> dict[str, dict[str, float]]:
    chosen = json.dumps({kind: KINDS[kind] for kind in kinds})
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", SCRIPT, str(saved), chosen, str(first), str(count), small_hparams]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, f"ended with {done.returncode} at {done.stdout[-200:]} {done.stderr[-3000:]}"
    results = json.loads(done.stdout.splitlines()[-1])
    for result in results.values():
        assert result["loaded"] + result["refused"] == count
        assert result["slowest"] < 10
        assert result["grown"] < 1 << 30
    return results


def test_mutations_broken_checkpoints_end_in_words(saved: Path, small_hparams: str) -> None:
    results = run(saved, list(KINDS), small_hparams, 0, NUM_QUICK)
    assert [result["refused"] > 0 for result in results.values()] == [True] * len(KINDS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_mutations_thousands_of_broken_checkpoints_end_in_words(saved: Path, kind: str, small_hparams: str) -> None:
    print(run(saved, [kind], small_hparams, 1_000_000, NUM_SLOW))

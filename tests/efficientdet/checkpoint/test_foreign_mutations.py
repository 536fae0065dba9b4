"""Fuzz tests of damaged weights of other libraries: an error message, or a valid conversion.

HDF5 is read in C++, so a separate process reads it: a crash is detected, and its
memory is measured.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import pytest

ROOT = Path(__file__).resolve().parents[3]
PYTHONPATH = os.pathsep.join(map(str, (ROOT / "third_party/automl", ROOT / "tests/support")))
# Of each: 300 mutations in all always, and 10,000 where the slow tests run.
KINDS = ["legacy.pth", "zipped.pth", "a.safetensors", "w.whl", "k.h5"]
NUM_QUICK, NUM_SLOW = 60, 2_000
SCRIPT = r"""
import json, os, random, resource, shutil, sys, time
from pathlib import Path

import h5py, numpy as np
from efficientdet.backbones import stages
from efficientdet.checkpoint import layouts
from efficientdet.checkpoint.locate import find
from efficientdet.errors import CheckpointError
from audit_watch import ELSEWHERE, Watch
from byte_mutations import mutated_bytes

saved, kinds, first, count = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
specs = {name: stages.block_specs(name, json.loads(sys.argv[5])) for name in stages.SCALES}
layouts.block_specs, layouts.HEAD_FILTERS = specs.get, 8
results, not_finite = {}, []
root = saved / f"run{os.getpid()}"
EXECUTES = ("compile", "exec", "pickle.find_class", "marshal.", "ctypes.")

watch = Watch(root, elsewhere=(*ELSEWHERE, *EXECUTES))
NASTY = [
    b"\xff" * 8, b"\x7f\xff\xff\xff", b"\0" * 8, b"\x80\x80\x80\x80", b"cos\nsystem\n(X\x02\0\0\0id\x85R",
    b"ios\nsystem\n",
    b"cbuiltins\neval\n", b"R", b"(", b"t", b"Q", b"b", b"}", b"]", b"r\xff\xff\xff\x7f", b"\x8b\xff\xff\xff\x7f",
    b"2", b"\x8d",
    b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"../../../etc/passwd", b'{"a":', b"[[[[[[[[", b"1e999",
    b"-1", b"99999999999",
    b"TREE", b"SNOD", b"HEAP", b"OHDR",
]

def mutated(whole, chance):
    return mutated_bytes(whole, chance, NASTY, near=(8192, 512), from_start=0.7)

os.makedirs(root)
for kind in kinds:
    whole = (saved / kind).read_bytes()
    slowest, converted, refused = 0.0, 0, 0
    assert find(saved / kind, root / "cache").path.is_file()
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(first, first + count):
        print(json.dumps({"kind": kind, "number": number}), flush=True)  # Where a crash stood.
        (root / kind).write_bytes(mutated(whole, random.Random(number)))
        shutil.rmtree(root / "cache", ignore_errors=True)
        start = time.process_time()
        watch.is_on = True
        try:
            path = find(root / kind, root / "cache").path
            converted += 1
        except CheckpointError as error:
            path, refused = None, refused + 1
            assert "\n" not in str(error) and len(str(error)) < 1500, (kind, number, str(error))
        finally:
            watch.is_on = False
        slowest = max(slowest, time.process_time() - start)
        if path is not None and path != root / kind:
            with h5py.File(path) as file:
                assert file.attrs["converted_from"]
                file.visititems(lambda name, item: None if isinstance(item, h5py.Group) else (
                    None if np.isfinite(item[()]).all() else not_finite.append(name)))
        assert not watch.found and not not_finite, (kind, number, watch.found, not_finite)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) * 1024
    results[kind] = {"converted": converted, "refused": refused, "slowest": slowest, "grown": grown}
print(json.dumps(results))
"""
STAGES = ["r1_k3_s11_e1_i32_o16_se0.25", "r2_k3_s22_e2_i16_o24_se0.25"]


@pytest.fixture
def saved(tmp_path: Path, writer: Any, state_of: Any) -> Path:
    """Returns a folder with a small file of each kind."""
    state = state_of("efficientnet-pytorch", "efficientnet-lite0")
    state = {"_bn0.num_batches_tracked": state["_bn0.bias"][:1].astype("int64"), **state}
    legacy = writer.legacy(tmp_path / "legacy.pth", state)
    writer.zipped(tmp_path / "zipped.pth", state)
    writer.safetensors(tmp_path / "a.safetensors", state, license="mit")
    writer.wheel(tmp_path / "w.whl", "w/lite.pth", legacy.read_bytes())
    with h5py.File(tmp_path / "k.h5", "w") as file:
        for key, values in state_of("keras.applications", "efficientnet-b0").items():
            layer, variable = key.split("/")
            file[f"{layer}/{layer}/{variable}:0"] = values
    return tmp_path


def run(saved: Path, kinds: list[str], first: int, count: int) -> dict[str, dict[str, float]]:
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", SCRIPT, str(saved), json.dumps(kinds), str(first), str(count), json.dumps(STAGES)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, f"ended with {done.returncode} at {done.stdout[-200:]} {done.stderr[-3000:]}"
    results = json.loads(done.stdout.splitlines()[-1])
    for result in results.values():
        assert result["converted"] + result["refused"] == count
        assert result["slowest"] < 10
        assert result["grown"] < 1 << 30
    return results


def test_foreign_mutations_broken_weights_of_other_libraries_end_in_words(saved: Path) -> None:
    results = run(saved, KINDS, 0, NUM_QUICK)
    assert [result["refused"] > 0 for result in results.values()] == [True] * len(KINDS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_foreign_mutations_thousands_of_broken_weights_of_other_libraries_end_in_words(saved: Path, kind: str) -> None:
    print(run(saved, [kind], 1_000_000, NUM_SLOW))

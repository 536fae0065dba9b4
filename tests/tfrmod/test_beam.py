"""Tests of the conversion with Beam: identical shards, also without TensorFlow."""

import hashlib
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tfrmod import beam
from tfrmod.errors import DatasetError

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]

# Makes these imports fail.
WITHOUT_TENSORFLOW = """
import runpy, sys
for name in ("tensorflow", "keras", "jax", "h5py", "matplotlib", "cv2"):
    sys.modules[name] = None
"""
DOOR = (
    WITHOUT_TENSORFLOW
    + "sys.argv[0] = 'create_tfrecords.py'; runpy.run_module('tfrmod.create_tfrecords', run_name='__main__')"
)
MAPPING = """
import os, pathlib, sys
from tfrmod.beam import BeamWorkers
from tfrmod.manifest import shard_files
shared = pathlib.Path(sys.argv[1])
with BeamWorkers("DirectRunner", "--direct_num_workers=1", shared) as workers:
    print(list(workers.map(os.path.join, ((str(number), "x") for number in range(5)))))
    print(list(workers.map(os.path.join, [])))
    try:
        list(workers.map(shard_files, [(str(shared / "none-*"),)]))
    except Exception as error:
        print(type(error).__name__, error.missing, error)
    try:
        list(workers.map(os.path.join, [(3,)]))
    except Exception as error:
        print(type(error).__name__, error)
print(sorted(os.listdir(shared.parent)))
"""


@pytest.fixture(scope="session")
def run_beam() -> Run:
    """Returns a function that runs code in this Python, or in the one that EFFICIENTDET_TEST_BEAM_PYTHON names."""
    python = os.environ.get("EFFICIENTDET_TEST_BEAM_PYTHON") or sys.executable
    if subprocess.run([python, "-c", "import apache_beam"], capture_output=True, check=False).returncode:
        pytest.skip(f"apache_beam is not importable in {python}; pip install apache-beam to run this")
    return lambda code, *arguments: run_code(python, code, *arguments)


def run_code(python: str, code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "third_party/automl")])}
    command = [python, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def files_of(folder: Path) -> dict[str, str]:
    """Returns the hash of each file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_beam_results_come_in_order_and_errors_as_they_were(run_beam: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    done = run_beam(MAPPING, tmp_path / "in" / "work")
    assert done.returncode == 0, done.stderr
    order, nothing, known, unknown, left = done.stdout.splitlines()
    assert order == str([f"{number}/x" for number in range(5)])
    assert nothing == left == "[]"
    assert known.startswith("DatasetError True No shards match")
    assert unknown.startswith("NetworkError The Beam pipeline on DirectRunner failed: expected str")


def converted(run: Run, image_files: Path, out: Path, *options: str) -> dict[str, str]:
    done = run(DOOR, f"--data_dir={image_files}", f"--output_path={out}", f"--workspace={out.parent}/runs", *options)
    assert done.returncode == 0, done.stderr
    return files_of(out)


def test_beam_same_bytes_as_on_one_machine(run_beam: Run, voc_folder, tmp_path: Path) -> None:
    image_files = voc_folder.add_many(30).root
    voc_folder.write("JPEGImages/broken.jpg", b"no image")
    voc_folder.write("Annotations/broken.xml", "<annotation/>")
    local = converted(run_beam, image_files, tmp_path / "local", "--num_shards=3")
    spread = converted(run_beam, image_files, tmp_path / "spread", "--num_shards=3", "--runner=DirectRunner")
    assert spread == local
    assert {name for name in local if name.endswith(".tfrecord")} == {
        f"{split}-0000{index}-of-00003.tfrecord" for split in ("train", "val") for index in range(3)
    }
    assert not [path for path in (tmp_path / "spread").iterdir() if path.is_dir()]


def test_beam_same_bytes_on_real_images(run_beam: Run, test_data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(test_data / "bccd.zip") as file:
        file.extractall(tmp_path / "photos")
    local = converted(run_beam, tmp_path / "photos", tmp_path / "local")
    assert converted(run_beam, tmp_path / "photos", tmp_path / "spread", "--runner=DirectRunner") == local
    assert sum(name.endswith(".tfrecord") for name in local) == 12


def test_beam_wrong_runners_end_with_a_sentence(run_beam: Run, voc_folder, tmp_path: Path) -> None:
    image_files = voc_folder.add_many(2).root
    for options, words in (
        (["--runner=Nonsense"], "runner must be one that Apache Beam has. Received 'Nonsense'"),
        (["--beam_options=--project=x"], "beam_options must be given with runner"),
    ):
        done = run_beam(DOOR, f"--data_dir={image_files}", f"--output_path={tmp_path}/out", *options)
        assert words in done.stderr


def test_beam_converts_without_tensorflow(voc_folder, tmp_path: Path) -> None:
    image_files = voc_folder.add_many(6).root
    made = converted(lambda *arguments: run_code(sys.executable, *arguments), image_files, tmp_path / "out")
    assert {"manifest.json", "train-00000-of-00001.tfrecord", "val-00000-of-00001.tfrecord"} <= made.keys()


def test_beam_not_installed_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.setitem(sys.modules, "apache_beam.runners.runner", None)
    with pytest.raises(ValueError, match="needs Apache Beam, which is not installed here"):
        beam.BeamWorkers("DirectRunner", "", tmp_path)


@pytest.mark.parametrize(("work", "expected"), [(os.path.join, ("a/b", None)), (os.listdir, (None, FileNotFoundError))])
def test_beam_task_leaves_its_result_where_the_driver_looks(tmp_path: Path, work: object, expected: tuple) -> None:
    task = ("a", "b") if work is os.path.join else (str(tmp_path / "none"),)
    (tmp_path / "00000007.task").write_bytes(pickle.dumps((work, task)))
    for _ in range(2):  # A runner may do it twice.
        beam.run_task(7, str(tmp_path))
    result, error = pickle.loads((tmp_path / "00000007.result").read_bytes())
    assert (result, error and type(error)) == expected
    assert sorted(os.listdir(tmp_path)) == ["00000007.result", "00000007.task"]


def test_beam_what_the_work_raises_keeps_what_it_knows(tmp_path: Path) -> None:
    error = pickle.loads(pickle.dumps(DatasetError("A sentence.", missing=True)))
    assert (str(error), error.missing) == ("A sentence.", True)

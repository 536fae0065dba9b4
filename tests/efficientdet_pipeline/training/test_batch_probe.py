"""Search for the largest batch: the sizes it tries, and its result when the subprocess is killed."""

import json
import subprocess
from pathlib import Path

import pytest
import tensorflow as tf

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.training import batch_probe, strategy
from efficientdet_pipeline.training.batch_probe import Probe, largest_batch

MB = 1 << 20


def probe(max_batch: int = 1000, *, accumulate_steps: int = 1) -> Probe:
    options = {"strategy": "", "accumulate_steps": accumulate_steps}
    return Probe(options=options, task="detection", network={}, max_instances=1, max_batch=max_batch)


@pytest.mark.parametrize(
    ("stdout", "stderr", "returncode", "expected"),
    [
        ("fits 8\nfits 16\n", "", 0, 16),
        ("a line of the backend\nfits 8\n", "", 0, 8),
        ("fits 4\n", "", -9, 4),
        ("fits 4\n", "MemoryError", 1, 4),
        ("", "", -9, 0),
        ("", "RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes", 1, 0),
    ],
)
def test_largest_batch_is_the_last_that_fitted(
    stdout: str, stderr: str, returncode: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.CompletedProcess([], returncode, stdout, stderr)
    monkeypatch.setattr(subprocess, "run", lambda *command, **settings: ended)
    assert largest_batch(probe()) == expected


def test_largest_batch_reports_other_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = subprocess.CompletedProcess([], 1, "", "Traceback\nValueError: no such layer\n")
    monkeypatch.setattr(subprocess, "run", lambda *command, **settings: ended)
    with pytest.raises(RuntimeError, match=r"largest batch failed.*ValueError: no such layer"):
        largest_batch(probe())


class FakeStep:
    """A machine that fits `LARGEST` images; on a CPU the network takes 100 MB and each image 10 MB."""

    LARGEST = 8
    tried: list[int]

    def __init__(self, probe: Probe, batch: int):
        type(self).tried = []

    def run(self, batch: int) -> None:
        self.tried.append(batch)
        if batch > self.LARGEST:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    @classmethod
    def peak(cls) -> int:
        return (100 + 10 * max(cls.tried, default=0)) * MB


@pytest.fixture
def fake_step(monkeypatch: pytest.MonkeyPatch) -> type[FakeStep]:
    monkeypatch.setattr(batch_probe, "_Step", FakeStep)
    monkeypatch.setattr(batch_probe, "peak_memory", FakeStep.peak)
    return FakeStep


@pytest.mark.parametrize(
    ("max_batch", "parts", "expected"), [(1000, 1, [1, 2, 4, 8]), (5, 1, [1, 2, 4]), (1000, 3, [3, 6]), (1, 3, [3])]
)
def test_fitting_batches_doubles_on_an_accelerator_until_memory_is_full(
    max_batch: int, parts: int, expected: list[int], fake_step: type[FakeStep], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strategy, "is_on_cpu", lambda: False)
    assert list(batch_probe._fitting_batches(probe(max_batch, accumulate_steps=parts))) == expected
    # The first that does not fit was tried, unless it is over the maximum.
    assert fake_step.tried == (expected if max_batch < 1000 else [*expected, 2 * expected[-1]])


def test_fitting_batches_raises_errors_other_than_out_of_memory(
    fake_step: type[FakeStep], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: FakeStep, batch: int) -> None:
        raise ValueError("no such layer")

    monkeypatch.setattr(strategy, "is_on_cpu", lambda: False)
    monkeypatch.setattr(fake_step, "run", fail)
    with pytest.raises(ValueError, match="no such layer"):
        list(batch_probe._fitting_batches(probe()))


@pytest.mark.parametrize(
    ("free", "max_batch", "parts", "expected"),
    [
        (1000, 1000, 1, [1, 64]),  # 85 images, and the power of two below.
        (1000, 40, 1, [1, 40]),
        (1000, 1, 1, [1]),
        (1000, 1000, 2, [2, 64]),  # 42 shares of two images each
        (1000, 41, 2, [2, 40]),
        (1, 1000, 1, [1]),  # The step ran, so it fits.
    ],
)
def test_fitting_batches_extrapolates_cpu_memory_from_two_batches(
    free: int,
    max_batch: int,
    parts: int,
    expected: list[int],
    fake_step: type[FakeStep],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(strategy, "is_on_cpu", lambda: True)
    monkeypatch.setattr(batch_probe, "free_memory", lambda: free * MB)
    assert list(batch_probe._fitting_batches(probe(max_batch, accumulate_steps=parts))) == expected
    assert fake_step.tried == [parts, 3 * parts]


def test_fitting_batches_yields_before_a_cpu_process_is_killed(
    fake_step: type[FakeStep], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strategy, "is_on_cpu", lambda: True)
    monkeypatch.setattr(fake_step, "LARGEST", 2)
    fitting = batch_probe._fitting_batches(probe())
    assert next(fitting) == 1
    with pytest.raises(tf.errors.ResourceExhaustedError):
        next(fitting)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [(6, "error: try --batch_size=6: it fits."), (0, "error: not even one image fits; try a smaller --image_size.")],
)
def test_batch_probe_main_suggests_a_batch_size(
    found: int, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "what.json"
    path.write_text(json.dumps({"options": {}, "task": "detection", "network": {}, "max_instances": 3, "max_batch": 7}))
    asked: list[Probe] = []

    def find(probe: Probe) -> int:
        asked.append(probe)
        return found

    monkeypatch.setattr(batch_probe, "largest_batch", find)
    monkeypatch.setattr("sys.argv", ["batch_probe", str(path)])
    with pytest.raises(SystemExit) as ended:
        batch_probe.main()
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err
    assert asked == [Probe(options={}, task="detection", network={}, max_instances=3, max_batch=7)]
    assert not path.exists()


def test_largest_batch_raises_option_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = subprocess.CompletedProcess([], 0, "refused strategy=gpus needs a GPU that TensorFlow can see.\n", "")
    monkeypatch.setattr(subprocess, "run", lambda *command, **settings: ended)
    with pytest.raises(OptionsError, match=r"^strategy=gpus needs a GPU"):
        largest_batch(probe())

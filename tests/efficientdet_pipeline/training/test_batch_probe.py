"""The search for the largest batch: what it tries, and what it makes of a process that did not live to its end."""

import json
import subprocess
from pathlib import Path

import pytest
import tensorflow as tf

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.training import batch_probe, strategy
from efficientdet_pipeline.training.batch_probe import Probe, largest_batch

MB = 1 << 20


def probe(most: int = 1000, *, accumulate_steps: int = 1) -> Probe:
    options = {"strategy": "", "accumulate_steps": accumulate_steps}
    return Probe(options=options, hparams={}, max_instances=1, most=most)


@pytest.mark.parametrize(
    ("stdout", "stderr", "returncode", "expected"),
    [
        ("fits 8\nfits 16\n", "", 0, 16),
        ("some words of an engine\nfits 8\n", "", 0, 8),
        ("fits 4\n", "", -9, 4),
        ("fits 4\n", "MemoryError", 1, 4),
        ("", "", -9, 0),
        ("", "RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes", 1, 0),
    ],
)
def test_what_fitted_before_the_end_counts(
    stdout: str, stderr: str, returncode: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.CompletedProcess([], returncode, stdout, stderr)
    monkeypatch.setattr(subprocess, "run", lambda *command, **settings: ended)
    assert largest_batch(probe()) == expected


def test_a_search_that_fails_of_something_else_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = subprocess.CompletedProcess([], 1, "", "Traceback\nValueError: no such layer\n")
    monkeypatch.setattr(subprocess, "run", lambda *command, **settings: ended)
    with pytest.raises(RuntimeError, match=r"largest batch failed.*ValueError: no such layer"):
        largest_batch(probe())


class FakeStep:
    """Steps on a machine with room for `LARGEST` photos; on a CPU each photo takes 10 MB beside 100 of the network."""

    LARGEST = 8
    taken: list[int]

    def __init__(self, probe: Probe, batch: int):
        type(self).taken = []

    def take(self, batch: int) -> None:
        self.taken.append(batch)
        if batch > self.LARGEST:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    @classmethod
    def peak(cls) -> int:
        return (100 + 10 * max(cls.taken, default=0)) * MB


@pytest.fixture
def fake_step(monkeypatch: pytest.MonkeyPatch) -> type[FakeStep]:
    monkeypatch.setattr(batch_probe, "_Step", FakeStep)
    monkeypatch.setattr(batch_probe, "peak_memory", FakeStep.peak)
    return FakeStep


@pytest.mark.parametrize(
    ("most", "parts", "expected"), [(1000, 1, [1, 2, 4, 8]), (5, 1, [1, 2, 4]), (1000, 3, [3, 6]), (1, 3, [3])]
)
def test_an_accelerator_is_tried_until_it_is_full(
    most: int, parts: int, expected: list[int], fake_step: type[FakeStep], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strategy, "is_on_cpu", lambda: False)
    assert list(batch_probe._fitting(probe(most, accumulate_steps=parts))) == expected
    # What does not fit was tried, unless nobody wants it.
    assert fake_step.taken == (expected if most < 1000 else [*expected, 2 * expected[-1]])


def test_an_accelerator_s_other_errors_are_not_taken_for_the_end_of_memory(
    fake_step: type[FakeStep], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: FakeStep, batch: int) -> None:
        raise ValueError("no such layer")

    monkeypatch.setattr(strategy, "is_on_cpu", lambda: False)
    monkeypatch.setattr(fake_step, "take", fail)
    with pytest.raises(ValueError, match="no such layer"):
        list(batch_probe._fitting(probe()))


@pytest.mark.parametrize(
    ("free", "most", "parts", "expected"),
    [
        (1000, 1000, 1, [1, 64]),  # 85 photos, and the power of two below.
        (1000, 40, 1, [1, 40]),
        (1000, 1, 1, [1]),
        (1000, 1000, 2, [2, 64]),  # 42 shares of two photos each
        (1000, 41, 2, [2, 40]),
        (1, 1000, 1, [1]),  # It was taken, so it fits.
    ],
)
def test_a_cpu_s_memory_is_computed_from_two_batches(
    free: int, most: int, parts: int, expected: list[int], fake_step: type[FakeStep], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strategy, "is_on_cpu", lambda: True)
    monkeypatch.setattr(batch_probe, "free_memory", lambda: free * MB)
    assert list(batch_probe._fitting(probe(most, accumulate_steps=parts))) == expected
    assert fake_step.taken == [parts, 3 * parts]


def test_a_cpu_that_ends_the_process_early_has_told_what_fits(
    fake_step: type[FakeStep], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strategy, "is_on_cpu", lambda: True)
    monkeypatch.setattr(fake_step, "LARGEST", 2)
    fitting = batch_probe._fitting(probe())
    assert next(fitting) == 1
    with pytest.raises(tf.errors.ResourceExhaustedError):
        next(fitting)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [(6, "error: try --batch_size=6: it fits."), (0, "error: not one photo fits; try a smaller --image_size.")],
)
def test_the_advice_after_a_batch_that_did_not_fit(
    found: int, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "what.json"
    path.write_text(json.dumps({"options": {}, "hparams": {}, "max_instances": 3, "most": 7}))
    asked: list[Probe] = []

    def find(probe: Probe) -> int:
        asked.append(probe)
        return found

    monkeypatch.setattr(batch_probe, "largest_batch", find)
    monkeypatch.setattr("sys.argv", ["probing", str(path)])
    with pytest.raises(SystemExit) as ended:
        batch_probe.main()
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err
    assert asked == [Probe(options={}, hparams={}, max_instances=3, most=7)]
    assert not path.exists()


def test_an_option_that_the_training_refuses_is_refused_here(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = subprocess.CompletedProcess([], 0, "refused strategy=gpus needs a GPU that TensorFlow can see.\n", "")
    monkeypatch.setattr(subprocess, "run", lambda *command, **settings: ended)
    with pytest.raises(OptionsError, match=r"^strategy=gpus needs a GPU"):
        largest_batch(probe())

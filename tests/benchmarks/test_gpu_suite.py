"""Phases of the GPU suite: each leaves what it has, whatever happens to it."""

import json
from pathlib import Path
from typing import Any

import gpu_suite
import pytest
from gpu_given import Notes
from gpu_suite import Phase, largest_batch, run_all

MODULES = {
    "whole": "    notes.add({'images_a_second': 2.0 * given.batch_size})",
    "late": "    time.sleep(60)",
    "full": "    notes.add({'first_step_seconds': 1.0})\n    raise MemoryError('too large')",
    "killed": "    os.kill(os.getpid(), 9)",
}


@pytest.fixture(scope="module")
def phases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Returns the phases of a suite of modules that end in all ways."""
    folder = tmp_path_factory.mktemp("suite")
    for name, text in MODULES.items():
        (folder / f"{name}.py").write_text(f"import os\nimport time\n\n\ndef measured(given, notes):\n{text}\n")
    table = {name: Phase(name, (), 2.0 if name == "late" else 60.0) for name in MODULES}
    table |= {"ours": Phase("whole", (), 60.0, {"batch_size": 3}), "absent": Phase("absent", ("no_such_package",), 9.0)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu_suite, "PHASES", table)
        patch.setenv("PYTHONPATH", str(folder))
        returned = run_all(list(table), 300, folder / "suite.json", is_tiny=False)
    assert json.loads((folder / "suite.json").read_text()) == returned
    return returned["phases"] | {"summary": returned["summary"]}


def test_run_all_ends_a_phase_that_runs_out_of_time(phases: dict[str, Any]) -> None:
    assert phases["late"]["failed"] == "out of time"
    assert 2 <= phases["late"]["seconds"] < 30


def test_notes_are_written_one_by_one(tmp_path: Path) -> None:
    notes = Notes(tmp_path / "notes.json")
    for results in ({"rate": 1.0}, {"memory": 2.0}):
        notes.add(results)
        assert json.loads((tmp_path / "notes.json").read_text()) == notes.found
    assert notes.found == {"rate": 1.0, "memory": 2.0}


def test_run_all_tells_memory_from_other_failures(phases: dict[str, Any]) -> None:
    assert phases["full"]["failed"] == "out of memory"
    assert phases["full"]["first_step_seconds"] == 1.0
    assert phases["killed"]["failed"] == "out of memory"
    assert phases["killed"]["message"] == "It ended with status -9."


def test_run_all_says_what_is_missing(phases: dict[str, Any]) -> None:
    assert phases["absent"] == {"skipped": "not installed: no_such_package"}


def test_run_all_sums_up(phases: dict[str, Any]) -> None:
    assert phases["ours"]["settings"]["batch_size"] == 3
    assert phases["summary"]["images_a_second"] == {"whole": 256.0, "ours": 6.0}
    assert phases["summary"]["failed"].keys() == {"late", "full", "killed"}


def test_run_all_begins_no_phase_without_time(tmp_path: Path) -> None:
    found = run_all(["ours"], 1.0, tmp_path / "suite.json", is_tiny=True)["phases"]["ours"]
    assert "time" in found["skipped"] or "not installed" in found["skipped"]


@pytest.mark.parametrize(
    ("planned", "limit", "batch"), [({128: 24.2}, 130.0, 608), ({128: 24.2, 256: 60.0}, 130.0, 480), ({}, 130.0, 0)]
)
def test_largest_batch_follows_from_planned_memory(planned: dict[int, float], limit: float, batch: int) -> None:
    done = {
        name: {"settings": {"batch_size": size}, "temporaries_gb": size_gb, "memory_gb": {"device_limit": limit}}
        for name, (size, size_gb) in zip(("ours", "ours_256"), planned.items(), strict=False)
    }
    assert largest_batch(done) == batch


@pytest.mark.slow
def test_suite_runs_tiny_on_a_cpu(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    done = run_all(["ours", "ours_restarted", "profile"], 600, tmp_path / "suite.json", is_tiny=True)["phases"]
    assert done["ours"]["images_a_second"] > 0
    assert done["ours_restarted"]["compilation_cache_hits"] > done["ours"]["compilation_cache_hits"]
    assert done["ours_restarted"]["first_loss"] == done["ours"]["first_loss"]
    assert done["profile"]["by_kernel"]

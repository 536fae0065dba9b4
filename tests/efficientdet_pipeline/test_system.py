"""Free memory within container limits, and recognition of out-of-memory errors of every framework."""

import gc
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import tensorflow as tf

from efficientdet_pipeline import system as machine_memory

AVAILABLE = 8 * 1024**3
SECOND = ("memory.max", "memory.current", "inactive_file")
FIRST = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns the folder of control groups of a machine with 8 GiB left, in none of them."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text(f"MemTotal: 99999999 kB\nMemAvailable:  {AVAILABLE // 1024} kB\n")
    monkeypatch.setattr(machine_memory, "_PROCESSES", tmp_path / "proc")
    monkeypatch.setattr(machine_memory, "_GROUPS", tmp_path / "groups")
    return tmp_path / "groups"


def enter(groups: Path, line: str) -> None:
    with (groups.parent / "proc/self/cgroup").open("a") as file:
        file.write(f"{line}\n")


def make_group(folder: Path, names: tuple[str, str, str], *, limit: str, taken: int, files_read: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(names, (limit, taken), strict=False):
        (folder / name).write_text(f"{value}\n")
    (folder / "memory.stat").write_text(f"anon 17\n{names[2]} {files_read}\n")


@pytest.mark.parametrize(("names", "line", "root"), [(SECOND, "0::/", ""), (FIRST, "4:cpu,memory:/", "memory")])
def test_a_container_leaves_what_it_has_not_taken(
    names: tuple[str, str, str], line: str, root: str, system: Path
) -> None:
    enter(system, line)
    make_group(system / root, names, limit="5000000", taken=3000000, files_read=400000)
    # Cached files occupy memory only until it is needed.
    assert machine_memory.free_memory() == 2400000


@pytest.mark.parametrize(
    ("names", "line", "root", "limit"),
    [(SECOND, "0::/", "", "max"), (FIRST, "3:memory:/", "memory", "9223372036854771712")],
)
def test_a_container_without_a_limit_leaves_what_the_machine_has(
    names: tuple[str, str, str], line: str, root: str, limit: str, system: Path
) -> None:
    enter(system, line)
    make_group(system / root, names, limit=limit, taken=3000000)
    assert machine_memory.free_memory() == AVAILABLE


def test_the_narrowest_of_nested_groups_binds(system: Path) -> None:
    enter(system, "0::/slurm/job_7/step_0")
    make_group(system / "slurm/job_7/step_0", SECOND, limit="max", taken=1000)
    make_group(system / "slurm/job_7", SECOND, limit="70000", taken=20000)
    assert machine_memory.free_memory() == 50000


def test_a_container_that_sees_its_host_s_path_is_found_at_the_root(system: Path) -> None:
    enter(system, "5:cpu:/docker/abc")
    enter(system, "4:memory:/docker/abc")
    make_group(system / "memory", FIRST, limit="90000", taken=100000)
    assert machine_memory.free_memory() == 0


def test_a_machine_without_containers_tells_what_is_available(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine_memory.free_memory() == AVAILABLE
    (system.parent / "proc/meminfo").unlink()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=12345))
    assert machine_memory.free_memory() == 12345

    def fail() -> None:
        raise RuntimeError("unknown system")

    monkeypatch.setattr(psutil, "virtual_memory", fail)
    assert machine_memory.free_memory() == sys.maxsize


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
def test_peak_memory_is_in_bytes_on_every_system(monkeypatch: pytest.MonkeyPatch, platform: str, unit: int) -> None:
    resource = SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda who: SimpleNamespace(ru_maxrss=1000))
    monkeypatch.setitem(sys.modules, "resource", resource)
    monkeypatch.setattr(sys, "platform", platform)
    assert machine_memory.peak_memory() == 1000 * unit
    monkeypatch.setitem(sys.modules, "resource", None)
    used = SimpleNamespace(peak_wset=2000, rss=1)
    monkeypatch.setattr(psutil, "Process", lambda: SimpleNamespace(memory_info=lambda: used))
    assert machine_memory.peak_memory() == 2000


def test_this_machine_has_some() -> None:
    assert 0 < machine_memory.free_memory() < sys.maxsize


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"), True),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 30 bytes."), True),
        (RuntimeError("Failed to allocate request for 2.0GiB"), True),
        (RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: out of memory"), True),
        ("terminate called after throwing an instance of 'std::bad_alloc'", True),
        ("MemoryError: Unable to allocate 3 GiB for an array", True),
        (RuntimeError("Shapes do not fit"), False),
        ("No room left on the zoom server", False),
        ("", False),
    ],
)
def test_the_end_of_memory_is_known(error: Exception | str, *, expected: bool) -> None:
    assert machine_memory.is_out_of_memory(error) is expected


def test_one_may_ask_before_anything_heavy_is_loaded() -> None:
    script = (
        "import sys; from efficientdet_pipeline.system import free_memory; free_memory();"
        "sys.exit(bool({'tensorflow', 'keras', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_rare_garbage_collection_restores_the_thresholds() -> None:
    before = gc.get_threshold()
    with machine_memory.rare_garbage_collection():
        assert gc.get_threshold()[0] > before[0]
    assert gc.get_threshold() == before
    with pytest.raises(ZeroDivisionError), machine_memory.rare_garbage_collection():
        1 / 0  # noqa: B018
    assert gc.get_threshold() == before

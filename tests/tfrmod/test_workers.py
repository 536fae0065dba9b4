import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tfrmod.errors import DatasetError
from tfrmod.workers import Workers, default_workers


def test_workers_return_results_in_order() -> None:
    tasks = [(number, 2) for number in range(30)]
    for count in (1, 2):
        with Workers(count) as workers:
            assert list(workers.map(pow, tasks)) == [number**2 for number in range(30)]


def test_workers_error_comes_back_and_a_killed_worker_is_explained() -> None:
    with Workers(2) as workers:
        with pytest.raises(ZeroDivisionError):
            list(workers.map(divmod, [(1, 0)]))
        with pytest.raises(DatasetError, match=r"worker process ended.*--num_workers=1, which"):
            list(workers.map(os._exit, [(3,)]))


def test_workers_no_more_tasks_are_made_than_are_needed() -> None:
    made = []
    endless = ((made.append(number) or number, 2) for number in itertools.count())
    with Workers(2) as workers:
        assert list(itertools.islice(workers.map(pow, endless), 20)) == [number**2 for number in range(20)]
    assert len(made) < 40


INTERRUPTED = """
import time
from tfrmod.workers import Workers

if __name__ == "__main__":
    try:
        with Workers(2) as workers:
            print("begun", flush=True)
            list(workers.map(time.sleep, [(0.05,)] * 400))
    except KeyboardInterrupt:
        print("stopped", flush=True)
"""


@pytest.mark.parametrize("delay", [0.1, 0.3])
def test_workers_interrupted_at_start_print_nothing(tmp_path: Path, delay: float) -> None:
    (tmp_path / "work.py").write_text(INTERRUPTED)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, str(tmp_path / "work.py")], start_new_session=True, **pipes) as process:
        process.stdout.readline()
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate(timeout=60) == ("stopped\n", "")


def test_workers_there_is_at_least_one_core() -> None:
    assert default_workers() >= 1


def test_workers_do_not_run_the_calling_script_again(tmp_path: Path) -> None:
    script = tmp_path / "unguarded.py"
    script.write_text(
        "from tfrmod.workers import Workers\nprint('begun')\n"
        "with Workers(2) as workers:\n    print(list(workers.map(pow, [(2, 3), (3, 2)])))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.split("\n") == ["begun", "[8, 9]", ""], done.stderr

"""What a run prints behind "Next:" can be copied as it stands, whatever its folder is called."""

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from efficientdet_pipeline.demo_dataset import write_demo_dataset
from tfrmod.manifest import shard_files


@pytest.mark.parametrize(
    ("workspace", "run_name"), [("my runs [v2], ü", "a b [c]"), ("what?*", "it's {x},[!y]"), ("~/[0-9]", "$HOME;x")]
)
def test_next_names_the_shards_of_the_run_and_no_others(
    run: Callable[..., "subprocess.CompletedProcess[str]"], home: Path, workspace: str, run_name: str
) -> None:
    images = write_demo_dataset(home / "next.zip", num_images=12, image_size=(64, 64))
    done = run("--mode=dataset", f"--url_dataset={images}", f"--workspace={workspace}", f"--run_name={run_name}")
    assert done.returncode == 0, done.stderr
    (command,) = (line.removeprefix("Next: ") for line in done.stdout.splitlines() if line.startswith("Next: "))
    _, main, train, val = shlex.split(command)
    assert Path(main).name == "main.py"
    folder = Path(workspace.replace("~", str(home), 1) if workspace[0] == "~" else home / workspace) / run_name
    for word, name in ((train, "train"), (val, "val")):
        flag, _, pattern = word.partition("=")
        assert flag == f"--{name}_file_pattern"
        there = pattern if Path(pattern).is_absolute() else f"{home}/{pattern}"
        assert [path.parent for path in shard_files(there)] == [folder / "tfrecords"]
    # As a shell reads it, in another mode that takes the same options and is done in seconds.
    asked = subprocess.run(
        ["sh", "-c", command],
        cwd=home,
        env={**os.environ, "HOME": str(home), "mode": "doctor"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode in (0, 3), asked.stderr
    assert "12 images" in asked.stdout

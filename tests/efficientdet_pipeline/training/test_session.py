"""Run session: when a run may be resumed with other options."""

from pathlib import Path

import pytest

from efficientdet_pipeline.commands import DEFAULT_MODE, MODES
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.parser import Reader
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.runs import metadata
from efficientdet_pipeline.tasks import task_named
from efficientdet_pipeline.training import checkpoint_io
from efficientdet_pipeline.training.session import RunSession, start_or_resume_run


def opened(workspace: Path, *argv: str) -> RunSession:
    """Opens a run like a training, and closes it."""
    reader = Reader({name: mode.options_class() for name, mode in MODES.items()}, DEFAULT_MODE)
    read = reader.read(["--url_dataset=demo", "--run_name=one", f"--workspace={workspace}", *argv], {})
    with start_or_resume_run(task_named("detection"), reader.build(read, TrainOptions), read, HparamsGiven()) as run:
        metadata.update_json(run.folder.metadata, {"shaping": run.shape})
        return run


def test_start_or_resume_run_accepts_changed_options_before_the_first_checkpoint(tmp_path: Path) -> None:
    opened(tmp_path, "--pretrained_ckpt=auto")
    run = opened(tmp_path, "--pretrained_ckpt=none")
    assert not run.is_resumed
    checkpoint_io.write_checkpoint(run.folder.last, {"state.npz": lambda path: path.write_bytes(b"1")}, {"step": 1})
    assert opened(tmp_path, "--pretrained_ckpt=none").is_resumed
    with pytest.raises(OptionsError, match=r"started with other options: pretrained_ckpt: 'none' then, 'auto' now"):
        opened(tmp_path, "--pretrained_ckpt=auto")

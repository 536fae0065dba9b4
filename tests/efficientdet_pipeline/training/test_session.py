"""When a run may be continued with other options."""

from pathlib import Path

import pytest

from efficientdet_pipeline.commands import DEFAULT_MODE, MODES
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.parser import Reader
from efficientdet_pipeline.runs import metadata
from efficientdet_pipeline.training import checkpoint_io
from efficientdet_pipeline.training.session import RunSession, start_or_resume_run


def begun(workspace: Path, *argv: str) -> RunSession:
    """Begins a run as a training does, and leaves it."""
    reader = Reader({name: mode.options_class() for name, mode in MODES.items()}, DEFAULT_MODE)
    read = reader.read(["--url_dataset=demo", "--run_name=one", f"--workspace={workspace}", *argv], {})
    with start_or_resume_run(reader.build(read), read, HparamsGiven()) as run:
        metadata.update_json(run.folder.metadata, {"shaping": run.shape})
        return run


def test_before_the_first_checkpoint_a_wrong_option_may_be_put_right(tmp_path: Path) -> None:
    begun(tmp_path, "--pretrained_ckpt=auto")
    run = begun(tmp_path, "--pretrained_ckpt=none")
    assert not run.begun
    checkpoint_io.write_checkpoint(run.folder.last, {"state.npz": lambda path: path.write_bytes(b"")}, {"step": 1})
    assert begun(tmp_path, "--pretrained_ckpt=none").begun
    with pytest.raises(OptionsError, match=r"begun with other options: pretrained_ckpt: 'none' then, 'auto' now"):
        begun(tmp_path, "--pretrained_ckpt=auto")

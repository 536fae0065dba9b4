"""Analysis of runs: those of other tasks are refused by name."""

from pathlib import Path
from typing import Any

import pytest

from efficientdet_pipeline.doctor.run_analysis import analyze_run
from efficientdet_pipeline.errors import MissingError, OptionsError
from efficientdet_pipeline.options.doctor import DoctorOptions
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.schema import compose


def test_analyze_run_refuses_runs_of_other_tasks(tmp_path: Path) -> None:
    workers: Any = None  # Nothing is read.
    options = compose(DoctorOptions, run_dir=str(tmp_path))
    with pytest.raises(MissingError, match="run_dir must be the folder of a trained run"):
        analyze_run(options, HparamsGiven(), workers)
    (tmp_path / "args.yaml").write_text("task: ''\nmodel_name: unet-efficientnet-b0\n")
    with pytest.raises(OptionsError, match=r"Received .*, a segmentation; --mode=report --model_dir="):
        analyze_run(options, HparamsGiven(), workers)


@pytest.mark.parametrize("given", [{"task": "classification"}, {"model_name": "efficientnet-b0"}])
def test_doctor_options_refuse_other_tasks(given: dict[str, str]) -> None:
    with pytest.raises(OptionsError, match="--mode=dataset --task=classification lists what is wrong"):
        compose(DoctorOptions, url_dataset="demo", **given)

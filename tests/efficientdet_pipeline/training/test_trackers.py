"""Experiment trackers: disabled by default, missing packages reported, failing trackers disabled."""

import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from efficientdet_pipeline.errors import ExitCode, MissingExtraError
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.tracking import TrackingOptions
from efficientdet_pipeline.runs.run_dir import RunFolder
from efficientdet_pipeline.training.trackers import MLFLOW_ID, Trackers, check_trackers

ROW = {"epoch": 2, "loss": 1.5, "AP": 0.25, "step": 10}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = tmp_path / "myrun"
    folder.mkdir()
    (folder / "args.yaml").write_text("num_epochs: 3\nlearning_rate: 0.1\n")
    return RunFolder(folder, folder / "export", folder / "tfrecords", folder)


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    check_trackers(compose(TrackingOptions))
    with pytest.raises(
        MissingExtraError, match=rf"--{name} needs .*pip install 'efficientdet-pipeline\[{name}\]'"
    ) as raised:
        check_trackers(compose(TrackingOptions, **{name: "x"}))
    assert raised.value.exit_code == ExitCode.NOT_INSTALLED


def test_mlflow_has_options_and_numbers_and_continues(run: RunFolder, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed: pip install mlflow-skinny")
    options = compose(TrackingOptions, mlflow=str(tmp_path / "mlruns"))
    check_trackers(options)
    for epoch in (1, 2):
        trackers = Trackers(options, run)
        trackers.log({**ROW, "epoch": epoch})
        trackers.close()
    client = mlflow.MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    (found,) = client.search_runs([client.get_experiment_by_name("efficientdet-pipeline").experiment_id])
    assert found.info.run_name == "myrun"
    assert found.info.status == "FINISHED"
    assert found.data.params == {"num_epochs": "3", "learning_rate": "0.1"}
    assert [(each.step, each.value) for each in client.get_metric_history(found.info.run_id, "loss")] == [
        (1, 1.5),
        (2, 1.5),
    ]
    assert MLFLOW_ID in run.metadata.read_text()


def test_wandb_is_offline_unless_online_is_requested(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    started = SimpleNamespace(
        log=lambda values, step: calls.append((values, step)), finish=lambda: calls.append("finished")
    )
    module = SimpleNamespace(init=lambda **given: calls.append(given) or started, Settings=dict)
    monkeypatch.setitem(sys.modules, "wandb", module)
    trackers = Trackers(compose(TrackingOptions, wandb="cells"), run)
    trackers.log(ROW)
    trackers.close()
    assert (calls[0]["mode"], calls[0]["project"], calls[0]["name"]) == ("offline", "cells", "myrun")
    assert calls[0]["config"] == {"num_epochs": 3, "learning_rate": 0.1}
    assert calls[1:] == [({**ROW}, 2), "finished"]
    Trackers(compose(TrackingOptions, wandb="cells", wandb_online=True), run)
    assert calls[-1]["mode"] == "online"


def test_a_tracker_that_fails_is_named_once(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(values: Mapping[str, float], step: int) -> None:
        raise ConnectionError("no route")

    module = SimpleNamespace(init=lambda **given: SimpleNamespace(log=fail, finish=lambda: None), Settings=dict)
    monkeypatch.setitem(sys.modules, "wandb", module)
    trackers = Trackers(compose(TrackingOptions, wandb="cells"), run)
    with caplog.at_level(logging.WARNING):
        trackers.log(ROW)
        trackers.log(ROW)
        trackers.close()
    (message,) = caplog.messages
    assert message.startswith("Wandb is disabled for this run after ConnectionError: no route. The training continues")


def test_tuning_metric_is_written_as_cloudml_hypertune_writes_it(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hypertune" / "output.metrics"
    monkeypatch.setenv("CLOUD_ML_HP_METRIC_FILE", str(path))
    monkeypatch.setenv("CLOUD_ML_TRIAL_ID", "3")
    trackers = Trackers(compose(TrackingOptions), run)
    trackers.log({"epoch": 1, "loss": 1.5})
    assert not path.exists()
    for epoch, value in ((2, 0.25), (4, 0.5)):
        trackers.log({**ROW, "epoch": epoch, "AP": value})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line.pop("timestamp") > 1e9 for line in lines] == [True, True]
    assert lines == [
        {"AP": value, "checkpoint_path": "", "global_step": step, "trial": "3"}
        for step, value in (("2", "0.25"), ("4", "0.5"))
    ]

"""Experiment trackers: MLflow and Weights & Biases, disabled by default and imported on first use.

If a tracker fails during a training, a warning is logged once, and the training continues without it.
"""

import collections
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Protocol

from absl import logging

from efficientdet_pipeline.console import print_event
from efficientdet_pipeline.inference.extras import import_extra
from efficientdet_pipeline.options.tracking import TrackingOptions
from efficientdet_pipeline.runs import metadata
from efficientdet_pipeline.runs.run_dir import RunFolder

MLFLOW_ID = "mlflow_run_id"
"""Field of metadata.json: the MLflow run that a resumed training continues."""
_EXPERIMENT = "efficientdet-pipeline"


class Tracker(Protocol):
    """Receives the metrics of a run."""

    def log(self, values: Mapping[str, float], *, epoch: int) -> None:
        """Logs the metrics of an epoch (1-based)."""

    def close(self) -> None:
        """Flushes; the run may be resumed later."""


def check_trackers(options: TrackingOptions) -> None:
    """Raises MissingExtraError if a requested tracker is not installed."""
    # Neither package may report its usage over the network.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    # MLflow requires this if its storage is a folder instead of a database.
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    for name in ("mlflow", "wandb"):
        if getattr(options, name):
            import_extra(name, purpose=f"--{name}")


class Trackers:
    """The trackers of a run: those of the options, a tuning service's, and events on a console of JSON lines.

    Args:
      primary: name of the metric that a tuning service optimizes.
    """

    def __init__(self, options: TrackingOptions, run: RunFolder, *, primary: str = "AP"):
        self._trackers: list[Tracker] = []
        if "CLOUD_ML_HP_METRIC_FILE" in os.environ or "CLOUD_ML_TRIAL_ID" in os.environ:
            self._trackers.append(TuningMetric(primary, os.environ))
        for asked, build in ((options.mlflow, MlflowTracker), (options.wandb, WandbTracker)):
            if asked:
                try:
                    self._trackers.append(build(options, run))
                except Exception as error:
                    self._warn(build.__name__, error)

    def log(self, row: Mapping[str, float]) -> None:
        """Logs a row of results.csv."""
        values = {name: value for name, value in row.items() if isinstance(value, int | float)}
        print_event("epoch", values)
        for tracker in list(self._trackers):
            try:
                tracker.log({name: float(value) for name, value in values.items()}, epoch=int(values["epoch"]))
            except Exception as error:
                self._trackers.remove(tracker)
                self._warn(type(tracker).__name__, error)

    def close(self) -> None:
        """Closes all trackers."""
        for tracker in self._trackers:
            try:
                tracker.close()
            except Exception as error:
                self._warn(type(tracker).__name__, error)
        self._trackers = []

    def _warn(self, name: str, error: Exception) -> None:
        logging.warning(
            "%s is disabled for this run after %s: %s. The training continues, and results.csv has all metrics.",
            *(name.removesuffix("Tracker"), type(error).__name__, " ".join(str(error).split())[:500]),
        )


class TuningMetric:
    """Metric of a hyperparameter tuning trial on Vertex AI: the file that the service reads, one JSON object per line.

    The format is that of the package cloudml-hypertune: the last 100 values, each a text.
    """

    def __init__(self, name: str, environ: Mapping[str, str]):
        self._name = name
        self._trial = environ.get("CLOUD_ML_TRIAL_ID", "0")
        self._path = Path(environ.get("CLOUD_ML_HP_METRIC_FILE") or "/tmp/hypertune/output.metrics")
        self._lines: collections.deque[str] = collections.deque(maxlen=100)

    def log(self, values: Mapping[str, float], *, epoch: int) -> None:
        """Writes the metric of an evaluated epoch."""
        if values.get(self._name, -1.0) < 0:
            return
        entry: dict[str, str | float] = {self._name: str(values[self._name]), "checkpoint_path": ""}
        entry |= {"global_step": str(epoch), "timestamp": time.time(), "trial": self._trial}
        self._lines.append(json.dumps(entry, sort_keys=True) + "\n")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text("".join(self._lines), encoding="utf-8")

    def close(self) -> None:
        """Does nothing: the file is complete after each epoch."""


class MlflowTracker:
    """MLflow: options as parameters, and metrics of each epoch."""

    def __init__(self, options: TrackingOptions, run: RunFolder):
        mlflow: ModuleType = import_extra("mlflow", purpose="--mlflow")
        place = options.mlflow if "://" in options.mlflow else Path(options.mlflow).absolute().as_uri()
        self._client = mlflow.MlflowClient(tracking_uri=place)
        known = metadata.read_json(run.metadata).get(MLFLOW_ID)
        if isinstance(known, str):
            self._run_id = known
            self._client.set_terminated(known, "RUNNING")
        else:
            experiment = self._client.get_experiment_by_name(_EXPERIMENT)
            number = experiment.experiment_id if experiment else self._client.create_experiment(_EXPERIMENT)
            self._run_id = self._client.create_run(number, run_name=run.path.name).info.run_id
            for name, value in metadata.read_args(run.args).items():
                self._client.log_param(self._run_id, name, str(value)[:500])
            metadata.update_json(run.metadata, {MLFLOW_ID: self._run_id})

    def log(self, values: Mapping[str, float], *, epoch: int) -> None:
        """Logs the metrics of an epoch."""
        for name, value in values.items():
            self._client.log_metric(self._run_id, name, value, step=epoch)

    def close(self) -> None:
        """Marks the run as finished."""
        self._client.set_terminated(self._run_id)


class WandbTracker:
    """Weights & Biases: offline in the run's folder, unless --wandb_online is given."""

    def __init__(self, options: TrackingOptions, run: RunFolder):
        wandb: ModuleType = import_extra("wandb", purpose="--wandb")
        self._run = wandb.init(
            project=options.wandb,
            name=run.path.name,
            dir=str(run.path),
            mode="online" if options.wandb_online else "offline",
            config=metadata.read_args(run.args),
            settings=wandb.Settings(silent=True, console="off", disable_git=True, save_code=False),
        )

    def log(self, values: Mapping[str, float], *, epoch: int) -> None:
        """Logs the metrics of an epoch."""
        self._run.log(dict(values), step=epoch)

    def close(self) -> None:
        """Flushes."""
        self._run.finish()

"""End of a run: it exports the best checkpoint if a metric was computed, else the last."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from efficientdet_pipeline.compression.summary import read_summary
from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.runs.run_dir import RunFolder
from efficientdet_pipeline.training.finalize import chosen_checkpoint, finalize_run, log_finished_run


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path, tmp_path / "export", tmp_path / "tfrecords", tmp_path)


def write(place: Path, **facts: Any) -> None:
    place.mkdir(parents=True)
    (place / "checkpoint.json").write_text(json.dumps({"files": {}, **facts}))


def test_chosen_checkpoint_is_the_best_if_an_ap_was_measured(folder: RunFolder) -> None:
    write(folder.best, AP=0.0, epoch=1)
    write(folder.last, epoch=2)
    assert chosen_checkpoint(folder) == ("best", folder.best)


@pytest.mark.parametrize("best", [None, -1.0])
def test_chosen_checkpoint_is_the_last_if_no_ap_was_measured(folder: RunFolder, best: float | None) -> None:
    write(folder.last, epoch=2)
    if best is not None:
        write(folder.best, AP=best, epoch=1)
    assert chosen_checkpoint(folder) == ("last", folder.last)


def test_chosen_checkpoint_without_any_checkpoint_is_an_error(folder: RunFolder) -> None:
    with pytest.raises(DataError, match="no complete checkpoint"):
        chosen_checkpoint(folder)


def test_finalize_run_lists_zeros_also_after_a_training_without_evaluation(folder: RunFolder) -> None:
    write(folder.last, epoch=2)
    network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="conv")])
    loaded: list[Path] = []

    def load_weights(network: keras.Model, path: Path) -> None:
        loaded.append(path)
        network.layers[0].kernel.assign(np.eye(4)[None, None, :3] * np.ones((3, 3, 1, 1)))

    setup: Any = SimpleNamespace(load_weights=load_weights)
    options = compose(TrainOptions, url_dataset="demo", prune="0.5")
    finalize_run(options, folder, setup, network, None, after_loading=[loaded.append])
    assert loaded == [folder.last / "model.weights.h5", folder.last]
    summary = read_summary(folder.compression)
    assert summary is not None
    assert summary.sparsity == 0.75
    assert summary.options == {"prune": "0.5"}


def test_log_finished_run_logs_the_number_of_epochs(folder: RunFolder, caplog: pytest.LogCaptureFixture) -> None:
    write(folder.last, epoch=2.0)
    with caplog.at_level(logging.INFO, logger="absl"):
        log_finished_run(folder, compose(TrainOptions, url_dataset="demo", num_epochs=1))
    assert "is finished after 2 epochs" in caplog.text

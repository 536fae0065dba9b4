"""The model of a run has its own config, weights and names."""

from pathlib import Path

import numpy as np
import pytest

from efficientdet_pipeline.api import RunResult
from efficientdet_pipeline.errors import MissingError
from efficientdet_pipeline.models.run_model import load_model


def test_load_model_of_a_run_is_that_of_its_checkpoint(toy_run: Path) -> None:
    model, config, names = load_model(
        RunResult(folder=toy_run, best_checkpoint=toy_run / "checkpoints" / "best", metrics={})
    )
    assert (config.image_size, config.num_classes, names[1]) == ((64, 64), 4, "circle")
    again, _, _ = load_model(toy_run / "checkpoints" / "best")
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_load_model_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"The checkpoint .* does not exist"):
        load_model(tmp_path / "none")

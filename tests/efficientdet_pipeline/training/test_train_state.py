"""Training state: it restores its own model, and rejects others."""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from efficientdet.errors import CheckpointError

from efficientdet_pipeline.training.train_state import is_finite, restore_state, state_arrays, write_weights

_spec = importlib.util.spec_from_file_location("toy_run", Path(__file__).with_name("toy_run.py"))
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)


@pytest.fixture
def model() -> Any:
    return toy.Toy()


def test_state_arrays_holds_everything_that_a_step_changes(model: Any) -> None:
    arrays = state_arrays(model)
    assert arrays.keys() >= {
        *(
            "weight/toy/dense/kernel",
            "weight/toy/dense/bias",
            "average/toy/dense/kernel",
            "optimizer/optimizer/iteration",
        ),
        *("metric/loss/0", "metric/loss/1", "run/bad_steps", "run/bad_steps_total", "run/learning_rate_factor"),
    }
    assert any("momentum" in name for name in arrays)


def test_restore_state_assigns_copied_arrays(model: Any) -> None:
    arrays = state_arrays(model)
    before = {name: array.copy() for name, array in arrays.items()}
    for variable in (*model.network.variables, *model.ema.shadows, model.bad_steps):
        variable.assign(variable.value + 1)
    assert all(np.array_equal(arrays[name], before[name]) for name in before)
    restore_state(model, arrays)
    after = state_arrays(model)
    assert all(np.array_equal(after[name], before[name]) for name in before)


def test_write_weights_refuses_a_full_disk_before_it_writes(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=3))
    with pytest.raises(OSError, match=r"model\.weights\.h5 needs [\d,]+ bytes and the disk has 3 free"):
        write_weights(model, state_arrays(model), tmp_path / "model.weights.h5")
    assert not list(tmp_path.iterdir())


def test_restore_state_keeps_counters_that_an_older_state_lacks(model: Any) -> None:
    arrays = {name: array for name, array in state_arrays(model).items() if not name.startswith("run/")}
    model.bad_steps.assign(3)
    restore_state(model, arrays)
    assert int(model.bad_steps.numpy()) == 3


@pytest.mark.parametrize(
    "missing", ["weight/toy/dense/bias", "average/toy/dense/bias", "optimizer/optimizer/iteration"]
)
def test_restore_state_rejects_the_state_of_another_model(model: Any, missing: str) -> None:
    arrays = state_arrays(model)
    with pytest.raises(CheckpointError, match=f"1 are not in both, for example {missing}"):
        restore_state(model, {name: array for name, array in arrays.items() if name != missing})
    with pytest.raises(CheckpointError, match="for example weight/other"):
        restore_state(model, {**arrays, "weight/other": np.zeros(1)})


def test_is_finite_ignores_metrics(model: Any) -> None:
    arrays = state_arrays(model)
    assert is_finite({**arrays, "metric/loss/0": np.array(np.nan)})
    for name in ("weight/toy/dense/bias", "average/toy/dense/bias"):
        assert not is_finite({**arrays, name: np.array([np.inf], np.float32)})

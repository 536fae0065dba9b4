"""Training state: all variables that a step changes, as arrays by name."""

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
from efficientdet.errors import CheckpointError

from efficientdet_pipeline.training.train_step import TrainStepModel
from tfrmod.fileio import check_space

State = Mapping[str, np.ndarray]
# Counters and metrics that an older state lacks keep their initial values.
_MAY_LACK = ("run/", "metric/")


def state_arrays(model: TrainStepModel) -> dict[str, np.ndarray]:
    """Returns copies of weights, EMA, optimizer slots, counters and running sums of losses."""
    # `convert_to_numpy` takes twice the time, and the training waits for it.
    return {name: np.asarray(variable.value).copy() for name, variable in _variables(model).items()}


def restore_state(model: TrainStepModel, arrays: State) -> None:
    """Assigns the arrays of `state_arrays` to the model.

    Raises:
      CheckpointError: the state belongs to another model.
    """
    variables = _variables(model)
    lacking = {name for name in variables.keys() - arrays.keys() if name.startswith(_MAY_LACK)}
    if variables.keys() - lacking != arrays.keys():
        mismatched = sorted((variables.keys() - lacking) ^ arrays.keys())
        raise CheckpointError(
            f"The training state must contain the {len(variables)} variables of this model. Received "
            f"{len(arrays)}; {len(mismatched)} are not in both, for example {mismatched[0]}. Resume with the options "
            "that started the run, or restart it with --overwrite."
        )
    for name, value in arrays.items():
        variables[name].assign(value)


def restore_running_sums(model: TrainStepModel, arrays: State) -> None:
    """Restores the running sums of losses, which Keras resets at the beginning of an epoch."""
    for name, variable in _running_sums(model).items():
        if name in arrays:
            variable.assign(arrays[name])


def is_finite(arrays: State) -> bool:
    """Returns whether all values except metrics are finite."""
    numbers = (array for name, array in arrays.items() if not name.startswith("metric/") and array.dtype.kind == "f")
    return all(np.isfinite(array).all() for array in numbers)


def write_weights(model: TrainStepModel, arrays: State, path: Path) -> None:
    """Writes the weights of a state, averaged if it has an EMA, as a file that the detector loads.

    The model's variables do not change, so that training continues in another
    thread; a stateless scope substitutes the values of the state.

    Raises:
      OSError: the disk has no space for them.
    """
    weights = {}
    for variable in model.network.variables:
        raw = arrays[f"weight/{variable.path}"]
        weights[variable.path] = arrays.get(f"average/{variable.path}", raw)
    for changed in model.changed_weights:
        weights |= changed(weights, arrays)
    values = [(variable, weights[variable.path]) for variable in model.network.variables]
    # HDF5 that runs out of space cannot be closed, and prints a traceback for each of its objects.
    check_space(path.parent, sum(array.nbytes for array in weights.values()), path.name)
    with keras.device("cpu:0"), keras.StatelessScope(values):
        model.network.save_weights(path)


def _variables(model: TrainStepModel) -> dict[str, keras.Variable]:
    found = {f"weight/{variable.path}": variable for variable in model.network.variables}
    if model.ema is not None:
        paths = (variable.path for variable in model.ema.variables)
        found |= {f"average/{path}": shadow for path, shadow in zip(paths, model.ema.shadows, strict=True)}
    found |= {f"optimizer/{variable.path}": variable for variable in model.optimizer.variables}
    found |= _running_sums(model)
    # Other variables of the run, such as the count of bad steps.
    seen = {id(variable) for variable in found.values()}
    others = (variable for variable in model.variables if id(variable) not in seen)
    return found | {f"run/{variable.path}": variable for variable in others}


def _running_sums(model: TrainStepModel) -> dict[str, keras.Variable]:
    return {
        f"metric/{tracker.name}/{index}": variable
        for tracker in model.metrics
        for index, variable in enumerate(tracker.variables)
    }

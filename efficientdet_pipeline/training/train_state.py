"""Everything that a step changes, as arrays by name: what a run is continued from, and what its weights are made of."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from efficientdet.errors import CheckpointError

State = Mapping[str, np.ndarray]
# What a later version counts or shows beside the training itself begins anew where an older state lacks it.
_MAY_LACK = ("run/", "metric/")


def state_arrays(model: Any) -> dict[str, np.ndarray]:
    """Returns weights, their average, optimizer slots, counters and the losses' running sums, as copies in memory."""
    # Not through `convert_to_numpy`, which takes twice the time, and training stands still meanwhile.
    return {name: np.asarray(variable.value).copy() for name, variable in _variables(model).items()}


def restore_state(model: Any, arrays: State) -> None:
    """Puts the arrays of `state_arrays` back.

    Raises:
      CheckpointError: the state belongs to another model.
    """
    variables = _variables(model)
    lacking = {name for name in variables.keys() - arrays.keys() if name.startswith(_MAY_LACK)}
    if variables.keys() - lacking != arrays.keys():
        strangers = sorted((variables.keys() - lacking) ^ arrays.keys())
        raise CheckpointError(
            f"The state of the training must hold the {len(variables)} variables of this model. Received "
            f"{len(arrays)}; {len(strangers)} are not in both, for example {strangers[0]}. Continue with the options "
            "that began the run, or begin anew with --overwrite."
        )
    for name, value in arrays.items():
        variables[name].assign(value)


def restore_running_sums(model: Any, arrays: State) -> None:
    """Puts the losses' running sums back, which Keras clears where an epoch begins."""
    for name, variable in _running_sums(model).items():
        if name in arrays:
            variable.assign(arrays[name])


def is_finite(arrays: State) -> bool:
    """Returns whether every number that a training goes on from is one."""
    numbers = (array for name, array in arrays.items() if not name.startswith("metric/") and array.dtype.kind == "f")
    return all(np.isfinite(array).all() for array in numbers)


def write_weights(model: Any, arrays: State, path: Path) -> None:
    """Writes a state's weights, averaged where they have an average, as a file that the detector loads.

    The model's variables are not touched, so that it may go on training in
    another thread: here alone they seem to hold the state's values.
    """
    values = []
    for variable in model.detector.variables:
        raw = arrays[f"weight/{variable.path}"]
        values.append((variable, arrays.get(f"average/{variable.path}", raw)))
    with keras.device("cpu:0"), keras.StatelessScope(values):
        model.detector.save_weights(path)


def _variables(model: Any) -> dict[str, Any]:
    found = {f"weight/{variable.path}": variable for variable in model.detector.variables}
    if model.average is not None:
        paths = (variable.path for variable in model.average.variables)
        found |= {f"average/{path}": shadow for path, shadow in zip(paths, model.average.shadows, strict=True)}
    found |= {f"optimizer/{variable.path}": variable for variable in model.optimizer.variables}
    found |= _running_sums(model)
    # What else the model keeps of the run, such as how many steps were bad.
    seen = {id(variable) for variable in found.values()}
    others = (variable for variable in model.variables if id(variable) not in seen)
    return found | {f"run/{variable.path}": variable for variable in others}


def _running_sums(model: Any) -> dict[str, Any]:
    return {
        f"metric/{tracker.name}/{index}": variable
        for tracker in model.metrics
        for index, variable in enumerate(tracker.variables)
    }

"""Everything that a step changes, as arrays by name: what a run is continued from."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from efficientdet.errors import CheckpointError

from efficientdet_pipeline.training.step_tensorflow import TrainingModel


def state_arrays(model: TrainingModel) -> dict[str, np.ndarray]:
    """Returns weights, their average, optimizer slots and the losses' running sums."""
    return {name: keras.ops.convert_to_numpy(variable).copy() for name, variable in _variables(model).items()}


def restore_state(model: TrainingModel, arrays: Mapping[str, np.ndarray]) -> None:
    """Puts the arrays of `state_arrays` back.

    Raises:
      CheckpointError: the state belongs to another model.
    """
    variables = _variables(model)
    if variables.keys() != arrays.keys():
        strangers = sorted(variables.keys() ^ arrays.keys())
        raise CheckpointError(
            f"The state of the training must hold the {len(variables)} variables of this model. Received "
            f"{len(arrays)}; {len(strangers)} are not in both, for example {strangers[0]}. Continue with the options "
            "that began the run, or begin anew with --overwrite."
        )
    for name, variable in variables.items():
        variable.assign(arrays[name])


def _variables(model: TrainingModel) -> dict[str, Any]:
    found = {f"weight/{variable.path}": variable for variable in model.detector.variables}
    if model.average is not None:
        paths = (variable.path for variable in model.average.variables)
        found |= {f"average/{path}": shadow for path, shadow in zip(paths, model.average.shadows, strict=True)}
    found |= {f"optimizer/{variable.path}": variable for variable in model.optimizer.variables}
    for tracker in model.metrics:
        found |= {f"metric/{tracker.name}/{index}": variable for index, variable in enumerate(tracker.variables)}
    return found

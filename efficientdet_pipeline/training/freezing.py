"""What is not trained: for the whole run, or while the heads find their feet."""

import re
from typing import Any

import efficientdet
import keras

from efficientdet_pipeline.errors import OptionsError


def frozen_by_name(detector: keras.Model, expression: str) -> frozenset[str]:
    """Returns the paths of the variables whose automl names begin with a match of `expression`.

    Raises:
      OptionsError: it is no regular expression, or matches none or all of them.
    """
    if not expression:
        return frozenset()
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise OptionsError(
            f"var_freeze_expr must be a regular expression. Received {expression!r}: {error}; "
            "try '(efficientnet|fpn_cells|resample_p6)', which trains the heads alone.",
            option="var_freeze_expr",
        ) from None
    named = efficientdet.variable_names(detector)
    frozen = frozenset(variable.path for name, variable in named.items() if pattern.match(name))
    trained = {variable.path for variable in detector.trainable_variables} - frozen
    if not frozen or not trained:
        raise OptionsError(
            f"var_freeze_expr must match some variables and leave some to train. Received {expression!r}, which "
            f"matches {len(frozen)} of {len(named)}; names look like {next(iter(named))}.",
            option="var_freeze_expr",
        )
    return frozen


class BackboneRest(keras.callbacks.Callback):
    """Leaves the backbone as it is for the first epochs; its gradient is not computed then, which is quicker.

    Its batch statistics follow the data all the same, as with var_freeze_expr.
    """

    def __init__(self, epochs: int, always: frozenset[str]):
        super().__init__()
        self.epochs = epochs
        self.always = always
        """Paths of the variables that are never trained."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Changes what is trained where the epochs are over, or a run is continued."""
        model = self.model
        frozen = self.always
        if epoch < self.epochs:
            frozen |= {variable.path for variable in model.detector.backbone.trainable_variables}
        if frozen != model.frozen:
            model.frozen = frozen
            model.make_train_function(force=True)

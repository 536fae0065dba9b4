"""Loss on validation images, without augmentation and without weight decay."""

import dataclasses
from collections.abc import Callable, Iterable

import keras
import numpy as np
import tensorflow as tf
from efficientdet.training_model import Objective
from efficientdet.types import Tensor, TensorTree
from keras import ops

from efficientdet_pipeline.tasks.task import LogLayout

PREFIX = "val_"


class ValidationLoss:
    """Computes the loss of a network with its current weights.

    Args:
      network: of the training.
      objective: the losses to minimize.
      batches: returns (images, truth) batches of all validation images, once.
    """

    def __init__(
        self, network: keras.Model, objective: Objective, batches: Callable[[], Iterable[tuple[Tensor, TensorTree]]]
    ):
        self._terms = _terms_function(network, objective)
        self._batches = batches

    def __call__(self) -> dict[str, float]:
        """Returns val_loss and its terms, averaged over images; empty without images."""
        totals: dict[str, float] = {}
        count = 0
        for images, truth in self._batches():
            number = int(images.shape[0])
            count += number
            for name, value in self._terms(images, truth).items():
                totals[name] = totals.get(name, 0.0) + number * float(ops.convert_to_numpy(value))
        return {f"{PREFIX}{name}": total / count for name, total in totals.items()}


def with_validation_loss(layout: LogLayout, loss_names: tuple[str, ...]) -> LogLayout:
    """Returns the columns and panels of a run with a validation loss, in addition to those of its training."""
    names = tuple(f"{PREFIX}{name}" for name in ("loss", *loss_names))
    panels = {
        title: (*columns, *(name for name in names if name.removeprefix(PREFIX) in columns))
        for title, columns in layout.panels.items()
    }
    return dataclasses.replace(layout, metrics=(*layout.metrics, *names), panels=panels)


def _terms_function(network: keras.Model, objective: Objective) -> Callable[[Tensor, TensorTree], dict[str, Tensor]]:
    def terms_of(outputs: TensorTree, truth: TensorTree) -> dict[str, Tensor]:
        targets = objective.targets(truth)
        total, terms = objective.terms(outputs, targets, objective.normalizer(objective.count(targets)))
        return {"loss": total, **terms}

    if keras.backend.backend() == "jax":
        from efficientdet_pipeline.evaluation.outputs_jax import network_function

        forward = network_function(network)
        return lambda images, truth: terms_of(forward(images), tuple(np.asarray(each) for each in truth))

    @tf.function(reduce_retracing=True, autograph=False)
    def compute(images: tf.Tensor, truth: TensorTree) -> dict[str, Tensor]:
        return terms_of(network(images, training=False), truth)

    return compute

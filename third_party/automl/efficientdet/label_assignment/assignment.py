"""What an assigner is given and gives, and the batch around it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int
from keras import ops

from efficientdet.types import BACKGROUND, GroundTruth, Tensor


@dataclass(frozen=True)
class Priors:
    """The priors of a head for one size of image, level by level."""

    boxes: np.ndarray
    """(a, 4) float32: y0 x0 y1 x1 in pixels of the canvas."""
    strides: np.ndarray
    """(a,) float32: pixels between cells, of each prior's level."""
    per_level: tuple[int, ...]
    """Priors of each level, lowest first."""

    @property
    def centers(self) -> np.ndarray:
        """(a, 2) float32: y and x of the middle of each prior."""
        return (self.boxes[:, :2] + self.boxes[:, 2:]) / 2


class Objects(NamedTuple):
    """The objects of one image, padded."""

    boxes: Float[Tensor, "n 4"]
    """Pixels of the canvas; zeros for padding."""
    class_index: Int[Tensor, " n"]
    """0-based; 0 for padding."""
    is_object: Bool[Tensor, " n"]


class Predicted(NamedTuple):
    """What the head says of one image."""

    scores: Float[Tensor, "a k"]
    """0 to 1."""
    boxes: Float[Tensor, "a 4"]


class Assignment(NamedTuple):
    """What each prior should answer."""

    row: Int[Tensor, "*b a"]
    """Row of its object, or BACKGROUND, or IGNORED."""
    quality: Float[Tensor, "*b a"]
    """How well it fits, 0 to 1: its overlap with its object, or what the method says; 0 without an object."""


class Assigner(Protocol):
    """One method of label assignment."""

    needs_predictions: ClassVar[bool]
    """Whether `predicted` is read."""

    def __call__(self, priors: Priors, objects: Objects, predicted: Predicted | None) -> Assignment:
        """Returns the assignment of one image."""
        ...


def padded_objects(truth: GroundTruth) -> Objects:
    """Returns the batch's objects with one row of padding more, so that there is a row to gather from."""
    class_ids = ops.pad(ops.cast(truth.class_ids, "int32"), ((0, 0), (0, 1)))
    is_object = class_ids > 0
    boxes = ops.pad(ops.cast(truth.boxes, "float32"), ((0, 0), (0, 1), (0, 0)))
    return Objects(ops.where(is_object[..., None], boxes, 0.0), ops.maximum(class_ids - 1, 0), is_object)


def assign_batch(
    assigner: Assigner, priors: Priors, objects: Objects, predicted: Predicted | None = None
) -> Assignment:
    """Returns the assignment of every image of a batch; no gradient flows through it.

    One image after the other: a table of all pairs of one image is large enough.

    Args:
      assigner: the method.
      priors: of the head.
      objects: from `padded_objects`.
      predicted: with a leading axis of images; read by some methods only.
    """
    inputs: Sequence[Tensor] = (*objects, *(predicted or ()))
    inputs = [ops.stop_gradient(value) for value in inputs]

    def of_image(values: Sequence[Tensor]) -> Assignment:
        said = Predicted(*values[3:]) if len(values) > 3 else None
        return assigner(priors, Objects(*values[:3]), said)

    row, quality = ops.map(lambda values: tuple(of_image(values)), tuple(inputs))
    return Assignment(ops.stop_gradient(row), ops.stop_gradient(quality))


def best_claims(
    prior: Int[Tensor, "n c"], score: Float[Tensor, "n c"], is_claimed: Bool[Tensor, "n c"], num_priors: int
) -> tuple[Int[Tensor, " a"], Float[Tensor, " a"]]:
    """Returns for each prior the object that claims it with the highest score, and that score.

    Equal scores go to the lower row. Priors that nobody claims are BACKGROUND
    with score 0.

    Args:
      prior: index of each claimed prior, `c` claims of each of `n` objects.
      score: above 0.
      is_claimed: which claims count.
      num_priors: in all.
    """
    num_rows, num_claims = prior.shape[0], prior.shape[1]
    rows = ops.repeat(ops.arange(num_rows if num_rows is not None else ops.shape(prior)[0], dtype="int32"), num_claims)
    flat = ops.reshape(prior, (-1,))
    claimed = ops.reshape(is_claimed, (-1,))
    scores = ops.where(claimed, ops.reshape(score, (-1,)), 0.0)
    best = ops.maximum(ops.segment_max(scores, flat, num_segments=num_priors), 0.0)
    is_best = ops.logical_and(claimed, scores >= ops.take(best, flat))
    # The maximum of negated rows is the lowest row.
    negated = ops.where(is_best, -rows, -(2**30))
    lowest = -ops.segment_max(negated, flat, num_segments=num_priors)
    is_taken = ops.logical_and(lowest >= 0, lowest < 2**30)
    return ops.where(is_taken, lowest, BACKGROUND), ops.where(is_taken, best, 0.0)

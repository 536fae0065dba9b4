"""Interface of label assigners: inputs, outputs, and assignment of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int
from keras import ops

from efficientdet.types import BACKGROUND, GroundTruth, Tensor


@dataclass(frozen=True)
class Priors:
    """Priors of a head for one image size, level by level."""

    boxes: np.ndarray
    """(a, 4) float32: y0 x0 y1 x1 in canvas pixels."""
    strides: np.ndarray
    """(a,) float32: pixels between cells, for each prior."""
    per_level: tuple[int, ...]
    """Number of priors of each level, lowest first."""

    @property
    def centers(self) -> np.ndarray:
        """(a, 2) float32: y and x of the center of each prior."""
        return (self.boxes[:, :2] + self.boxes[:, 2:]) / 2


class Objects(NamedTuple):
    """Ground-truth objects of one image, padded."""

    boxes: Float[Tensor, "n 4"]
    """Canvas pixels; zeros for padding."""
    class_index: Int[Tensor, " n"]
    """0-based; 0 for padding."""
    is_object: Bool[Tensor, " n"]


class Predicted(NamedTuple):
    """Predictions of the head for one image."""

    scores: Float[Tensor, "a k"]
    """0 to 1."""
    boxes: Float[Tensor, "a 4"]


class Assignment(NamedTuple):
    """Assigned object of each prior."""

    row: Int[Tensor, "*b a"]
    """Row of the object, or BACKGROUND, or IGNORED."""
    quality: Float[Tensor, "*b a"]
    """Quality of the match, 0 to 1: IoU with the object, or as the method defines it; 0 without an object."""


class Assigner(Protocol):
    """A method of label assignment."""

    needs_predictions: ClassVar[bool]
    """Whether `predicted` is used."""

    def __call__(self, priors: Priors, objects: Objects, predicted: Predicted | None) -> Assignment:
        """Returns the assignment of one image."""
        ...


def padded_objects(truth: GroundTruth) -> Objects:
    """Returns the objects of a batch with one extra padding row, so that a gather from it is always valid."""
    class_ids = ops.pad(ops.cast(truth.class_ids, "int32"), ((0, 0), (0, 1)))
    is_object = class_ids > 0
    boxes = ops.pad(ops.cast(truth.boxes, "float32"), ((0, 0), (0, 1), (0, 0)))
    return Objects(ops.where(is_object[..., None], boxes, 0.0), ops.maximum(class_ids - 1, 0), is_object)


def assign_batch(
    assigner: Assigner, priors: Priors, objects: Objects, predicted: Predicted | None = None
) -> Assignment:
    """Returns the assignment of every image of a batch; no gradient flows through it.

    Images are processed one after the other, because the table of all pairs of
    one image is large.

    Args:
      assigner: the method.
      priors: of the head.
      objects: from `padded_objects`.
      predicted: with a leading batch axis; only some methods use it.
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

    Ties go to the lower row. Priors without a claim are BACKGROUND with score 0.

    Args:
      prior: index of each claimed prior, `c` claims for each of `n` objects.
      score: above 0.
      is_claimed: mask of valid claims.
      num_priors: total number of priors.
    """
    num_rows, num_claims = prior.shape[0], prior.shape[1]
    rows = ops.repeat(ops.arange(num_rows if num_rows is not None else ops.shape(prior)[0], dtype="int32"), num_claims)
    flat = ops.reshape(prior, (-1,))
    claimed = ops.reshape(is_claimed, (-1,))
    scores = ops.where(claimed, ops.reshape(score, (-1,)), 0.0)
    best = ops.maximum(ops.segment_max(scores, flat, num_segments=num_priors), 0.0)
    is_best = ops.logical_and(claimed, scores >= ops.take(best, flat))
    # The maximum of negated rows gives the lowest row.
    negated = ops.where(is_best, -rows, -(2**30))
    lowest = -ops.segment_max(negated, flat, num_segments=num_priors)
    is_taken = ops.logical_and(lowest >= 0, lowest < 2**30)
    return ops.where(is_taken, lowest, BACKGROUND), ops.where(is_taken, best, 0.0)

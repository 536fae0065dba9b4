"""Samplers of assigned priors for the loss."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from keras import ops

from efficientdet.layers import uniform_of
from efficientdet.types import BACKGROUND, IGNORED, Tensor


@dataclass(frozen=True, kw_only=True)
class PseudoSampler:
    """Keeps all priors."""

    def __call__(self, row: Int[Tensor, "b a"], signal: Float[Tensor, " b"]) -> Int[Tensor, "b a"]:
        """Returns the assignment unchanged."""
        return row


@dataclass(frozen=True, kw_only=True)
class RandomSampler:
    """Samples at most `num` priors per image, at most `pos_fraction` of them positive; the others become IGNORED.

    The sample is a function of the batch only, so that a resumed run draws the
    same: `signal` is a number per image that changes from step to step.
    """

    num: int = 256
    pos_fraction: float = 0.5
    neg_pos_ub: float = -1.0
    """Largest number of negatives per positive; -1: no limit."""

    def __post_init__(self) -> None:
        if self.num < 1 or not 0 < self.pos_fraction <= 1:
            raise ValueError(
                f"num must be 1 or more and pos_fraction above 0 and at most 1. "
                f"Received {self.num} and {self.pos_fraction}."
            )

    def __call__(self, row: Int[Tensor, "b a"], signal: Float[Tensor, " b"]) -> Int[Tensor, "b a"]:
        """Returns the assignment, with IGNORED for all priors outside of the sample.

        Args:
          row: from the assigner.
          signal: see the class.
        """
        rank = self._random_numbers(row, signal)
        is_positive, is_negative = row >= 0, ops.equal(row, BACKGROUND)
        most_positive = int(self.num * self.pos_fraction)
        positive = ops.logical_and(is_positive, _place(rank, is_positive) < most_positive)
        num_positive = ops.sum(ops.cast(positive, "int32"), axis=1, keepdims=True)
        most_negative = self.num - num_positive
        if self.neg_pos_ub >= 0:
            bound = ops.cast(self.neg_pos_ub * ops.cast(ops.maximum(num_positive, 1), "float32"), "int32")
            most_negative = ops.minimum(most_negative, bound)
        negative = ops.logical_and(is_negative, _place(rank, is_negative) < most_negative)
        return ops.where(ops.logical_or(positive, negative), row, IGNORED)

    def _random_numbers(self, row: Tensor, signal: Tensor) -> Tensor:
        num_priors = row.shape[1]
        whole = ops.cast(ops.mod(ops.abs(ops.sum(signal)) * 4096.0, 2.0**24), "uint32")
        seed = ops.stack([whole, ops.cast(num_priors, "uint32")])
        numbers = uniform_of(seed, 0, ops.shape(row)[0] * num_priors)
        return ops.reshape(numbers, (-1, num_priors))


def _place(rank: Float[Tensor, "b a"], among: Tensor) -> Int[Tensor, "b a"]:
    """Returns the rank of each number among the selected numbers of its image."""
    order = ops.argsort(ops.where(among, rank, 2.0), axis=1)
    return ops.cast(ops.argsort(order, axis=1), "int32")

"""AutoAugment and RandAugment: chance picks from a table of operations."""

import tensorflow as tf

from efficientdet_pipeline.augment.operations import operation
from efficientdet_pipeline.augment.policies import POLICIES, RANDAUG_OPERATIONS, RANDAUG_PROBABILITY
from efficientdet_pipeline.augment.sample import Augmentation, Sample, in_turn


def autoaugment(policy: str, *, min_visibility: float = 0.1) -> Augmentation:
    """Returns an augmentation that does one sub-policy, picked evenly.

    Args:
      policy: v0, v1, v2, v3 or test.
      min_visibility: boxes moved out of sight by more than this are dropped.

    Raises:
      ValueError: for another policy.
    """
    if policy not in POLICIES:
        raise ValueError(f"Unknown AutoAugment policy {policy!r}. Known: {', '.join(POLICIES)}.")
    return one_of(
        [
            in_turn([operation(*step, min_visibility=min_visibility) for step in steps if step.probability > 0])
            for steps in POLICIES[policy]
        ]
    )


def randaugment(*, magnitude: float = 10.0, min_visibility: float = 0.1) -> Augmentation:
    """Returns an augmentation that does one of ten operations, at the same level.

    The operation happens with a probability drawn from .2 to .8 (automl draws it
    and then ignores it).

    Args:
      magnitude: level of every operation, 0 to 10.
      min_visibility: boxes moved out of sight by more than this are dropped.
    """
    low, high = RANDAUG_PROBABILITY
    change = one_of([operation(name, 1.0, magnitude, min_visibility=min_visibility) for name in RANDAUG_OPERATIONS])

    def perhaps(sample: Sample, seed: tf.Tensor) -> Sample:
        chance_seed, change_seed = tf.unstack(tf.random.split(seed))
        probability, chance = tf.unstack(tf.random.stateless_uniform((2,), chance_seed))
        happens = chance < low + (high - low) * probability
        return tf.cond(happens, lambda: change(sample, change_seed), lambda: sample)

    return perhaps


def one_of(changes: list[Augmentation]) -> Augmentation:
    """Returns an augmentation that does one of the changes, picked evenly."""

    def change(sample: Sample, seed: tf.Tensor) -> Sample:
        pick_seed, change_seed = tf.unstack(tf.random.split(seed))
        picked = tf.random.stateless_uniform((), pick_seed, maxval=len(changes), dtype=tf.int32)
        return tf.switch_case(picked, [lambda option=option: option(sample, change_seed) for option in changes])

    return change

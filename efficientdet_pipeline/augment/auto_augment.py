"""AutoAugment and RandAugment: operations and their policies."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from efficientdet_pipeline.augment import color, erase, geometry
from efficientdet_pipeline.augment.auto_augment_policies import POLICIES, RANDAUG_OPERATIONS, RANDAUG_PROBABILITY
from efficientdet_pipeline.augment.erase import ImageChange, change_contents, random_move
from efficientdet_pipeline.augment.sample import Augmentation, Sample, compose, random_apply

MAX_LEVEL = 10.0


def _factor(m: float) -> float:
    return 1.8 * m + 0.1


# Posterize keeps at least one bit, as automl's shift does: a black image cannot be trained on.
COLORS: dict[str, Callable[[float], Callable[[tf.Tensor], tf.Tensor]]] = {
    "AutoContrast": lambda m: color.autocontrast,
    "Equalize": lambda m: color.equalize,
    "Posterize": lambda m: lambda image: color.posterize(image, max(1, int(4 * m))),
    "Solarize": lambda m: lambda image: color.solarize(image, int(256 * m)),
    "SolarizeAdd": lambda m: lambda image: color.solarize_add(image, int(110 * m)),
    "Color": lambda m: lambda image: color.color(image, _factor(m)),
    "Contrast": lambda m: lambda image: color.contrast(image, _factor(m)),
    "Brightness": lambda m: lambda image: color.brightness(image, _factor(m)),
    "Sharpness": lambda m: lambda image: color.sharpness(image, _factor(m)),
}
"""Operations on every pixel."""

MOVES: dict[str, tuple[geometry.AffineOf, float]] = {
    "Rotate_BBox": (geometry.rotation, 30.0),
    "TranslateX_BBox": (geometry.translation_x, 250.0),
    "TranslateY_BBox": (geometry.translation_y, 250.0),
    "ShearX_BBox": (geometry.shear_x, 0.3),
    "ShearY_BBox": (geometry.shear_y, 0.3),
}
"""Operations on the image and its boxes: the map, and the amount at level 10 (degrees, pixels or factor)."""

CUTOUTS: dict[str, Callable[[float], Augmentation]] = {
    "Cutout": lambda m: lambda sample, seed: sample._replace(image=erase.cutout(sample.image, seed, int(100 * m))),
    "BBox_Cutout": lambda m: lambda sample, seed: erase.box_cutout(sample, seed, 0.75 * m),
}

CONTENTS: dict[str, Callable[[float], ImageChange]] = {
    "Rotate_Only_BBoxes": lambda m: random_move(geometry.rotation, 30 * m),
    "ShearX_Only_BBoxes": lambda m: random_move(geometry.shear_x, 0.3 * m),
    "ShearY_Only_BBoxes": lambda m: random_move(geometry.shear_y, 0.3 * m),
    "TranslateX_Only_BBoxes": lambda m: random_move(geometry.translation_x, 120 * m),
    "TranslateY_Only_BBoxes": lambda m: random_move(geometry.translation_y, 120 * m),
    "Flip_Only_BBoxes": lambda m: lambda image, seed: tf.reverse(image, axis=[1]),
    "Solarize_Only_BBoxes": lambda m: lambda image, seed: color.solarize(image, int(256 * m)),
    "Equalize_Only_BBoxes": lambda m: lambda image, seed: color.equalize(image),
    "Cutout_Only_BBoxes": lambda m: lambda image, seed: erase.cutout(image, seed, int(50 * m)),
}
"""Operations on the content of each box, at a third of the probability each."""

OPERATIONS = (*COLORS, *MOVES, *CUTOUTS, *CONTENTS)


def operation(name: str, probability: float, level: float, *, min_visibility: float) -> Augmentation:
    """Returns one operation of a policy as an augmentation of uint8 samples.

    Args:
      name: one of OPERATIONS.
      probability: of applying the operation; for `…_Only_BBoxes` three times that of each box.
      level: 0 to 10.
      min_visibility: boxes with a smaller visible share are dropped.

    Raises:
      ValueError: the name is unknown, or a number is out of range.
    """
    if name not in OPERATIONS:
        raise ValueError(f"Unknown augmentation operation {name!r}. Known: {', '.join(OPERATIONS)}.")
    if not (0 <= probability <= 1 and 0 <= level <= MAX_LEVEL):
        raise ValueError(
            "An operation needs a probability between 0 and 1 and a level between 0 and 10. "
            f"Received {name} with probability={probability}, level={level}."
        )
    m = level / MAX_LEVEL
    if name in CONTENTS:
        change = CONTENTS[name](m)
        return lambda sample, seed: change_contents(sample, seed, change, probability=probability / 3)
    if name in MOVES:
        affine_of, largest = MOVES[name]
        return random_apply(geometry.move_by(affine_of, largest * m, min_visibility=min_visibility), probability)
    if name in CUTOUTS:
        return random_apply(CUTOUTS[name](m), probability)
    return random_apply(_of_image(COLORS[name](m)), probability)


def _of_image(change: Callable[[tf.Tensor], tf.Tensor]) -> Augmentation:
    def changed(sample: Sample, seed: tf.Tensor) -> Sample:
        del seed
        return sample._replace(image=change(sample.image))

    return changed


def autoaugment(policy: str, *, min_visibility: float = 0.1) -> Augmentation:
    """Returns an augmentation that applies one sub-policy, chosen uniformly.

    Args:
      policy: v0, v1, v2, v3 or test.
      min_visibility: boxes with a smaller visible share are dropped.

    Raises:
      ValueError: the policy is unknown.
    """
    if policy not in POLICIES:
        raise ValueError(f"Unknown AutoAugment policy {policy!r}. Known: {', '.join(POLICIES)}.")
    return one_of(
        [
            compose([operation(*step, min_visibility=min_visibility) for step in steps if step.probability > 0])
            for steps in POLICIES[policy]
        ]
    )


def randaugment(*, magnitude: float = 10.0, min_visibility: float = 0.1) -> Augmentation:
    """Returns an augmentation that applies one of ten operations, at the same level.

    The operation is applied with a probability drawn from .2 to .8 (automl draws
    it and then ignores it).

    Args:
      magnitude: level of every operation, 0 to 10.
      min_visibility: boxes with a smaller visible share are dropped.
    """
    low, high = RANDAUG_PROBABILITY
    change = one_of([operation(name, 1.0, magnitude, min_visibility=min_visibility) for name in RANDAUG_OPERATIONS])

    def perhaps(sample: Sample, seed: tf.Tensor) -> Sample:
        chance_seed, change_seed = tf.unstack(tf.random.split(seed))
        probability, chance = tf.unstack(tf.random.stateless_uniform((2,), chance_seed))
        happens = chance < low + (high - low) * probability
        return tf.cond(happens, lambda: change(sample, change_seed), lambda: sample)

    return perhaps


def one_of(changes: Sequence[Augmentation]) -> Augmentation:
    """Returns an augmentation that applies one of the changes, chosen uniformly."""

    def change(sample: Sample, seed: tf.Tensor) -> Sample:
        pick_seed, change_seed = tf.unstack(tf.random.split(seed))
        picked = tf.random.stateless_uniform((), pick_seed, maxval=len(changes), dtype=tf.int32)
        return tf.switch_case(picked, [lambda option=option: option(sample, change_seed) for option in changes])

    return change

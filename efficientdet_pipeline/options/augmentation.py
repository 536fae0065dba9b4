"""Image augmentation options."""

from collections.abc import Mapping
from dataclasses import dataclass

from absl import logging

from efficientdet_pipeline.options.recipes import EARLIER_NAMES, RECIPES, read_augment_config
from efficientdet_pipeline.options.schema import Options, Value, check, check_choice, declarations, option
from efficientdet_pipeline.options.transforms import read_steps

POLICIES = ("", "v0", "v1", "v2", "v3", "test", "randaug")
# Maximum of each; the minimum is 0.
_LIMITS = {
    "randaug_magnitude": 10,
    "hsv_hue": 0.5,
    "hsv_saturation": 1,
    "hsv_value": 1,
    "mosaic": 1,
    "mixup": 1,
    "copy_paste": 1,
    "min_visibility": 1,
}


@dataclass(frozen=True, kw_only=True)
class AugmentationOptions(Options):
    """Augmentation."""

    augment: bool = option(
        True,
        "Augment training images. --noaugment disables all augmentation; the options below are then ignored.",
        shapes=True,
    )
    augment_recipe: str = option(
        "default",
        "Preset of the options below: none, flip, default, automl, strong or mixing. Options given explicitly take "
        "precedence. mixing (mosaic and copy-paste; earlier small-data) is meant for few images and long runs: in a "
        "short run from random weights its AP was below that of default (docs/scratch-recipe.md).",
        choices=tuple(RECIPES),
    )
    augment_config: str = option(
        "",
        "YAML file with the options below and `steps`. Precedence: explicit options > this file > augment_recipe.",
        path="path",
    )
    augment_steps: str = option(
        "",
        "Transforms applied to each image before all others, as a YAML list, for example [{name: CenterCrop, "
        "height: 300, width: 400}].",
        shapes=True,
    )
    input_rand_hflip: bool = option(True, "Flip images horizontally with probability 0.5.", shapes=True)
    jitter_min: float = option(
        0.7,
        "Lower bound of the random scale factor of scale jitter. google/automl uses 0.1, which suits long "
        "runs on large datasets.",
        shapes=True,
    )
    jitter_max: float = option(
        1.4,
        "Upper bound of the random scale factor of scale jitter. google/automl uses 2.0.",
        shapes=True,
    )
    autoaugment_policy: str = option(
        "",
        "AutoAugment policy: v0, v1, v2, v3, test or randaug. Empty: none.",
        choices=POLICIES,
        shapes=True,
    )
    randaug_magnitude: float = option(
        10.0,
        "Magnitude of RandAugment, 0 to 10. google/automl's 15 exceeds the scale of its own operations; 10 is "
        "the maximum.",
        shapes=True,
    )
    grid_mask: bool = option(
        False,
        "Apply GridMask (a rotated grid of masked squares) with probability 0.5.",
        shapes=True,
    )
    hsv_hue: float = option(
        0.0,
        "Maximum random hue shift, as a fraction of the color circle, 0 to 0.5; a common value is 0.015.",
        shapes=True,
    )
    hsv_saturation: float = option(
        0.0,
        "Maximum relative change of saturation, 0 to 1; a common value is 0.7.",
        shapes=True,
    )
    hsv_value: float = option(
        0.0,
        "Maximum relative change of brightness, 0 to 1; a common value is 0.4.",
        shapes=True,
    )
    mosaic: float = option(0.0, "Probability of mosaic: four images combined into one, 0 to 1.", shapes=True)
    mixup: float = option(
        0.0,
        "Probability of MixUp: two images blended together with their boxes, 0 to 1.",
        shapes=True,
    )
    copy_paste: float = option(
        0.0,
        "Probability of copy-paste: an object of another image, cut out by its box, pasted into the image, 0 to 1.",
        shapes=True,
    )
    close_mosaic: int = option(
        0,
        "Number of final epochs (of num_epochs) without mosaic, MixUp and copy-paste. If a run is extended, "
        "they are disabled later accordingly. 0: never disabled.",
        shapes=True,
    )
    min_visibility: float = option(
        0.1,
        "Minimum visible fraction of a box after cropping, 0 to 1; boxes below it are dropped. google/automl "
        "uses 0, which keeps slivers.",
        shapes=True,
    )

    def __post_init__(self) -> None:
        """Checks the ranges, the preset and the steps."""
        super().__post_init__()
        check_choice("augment_recipe", self.augment_recipe, tuple(RECIPES))
        if self.augment_recipe in EARLIER_NAMES:
            now = EARLIER_NAMES[self.augment_recipe]
            logging.warning(
                "augment_recipe=%s is now called %s: it is not what suits small data.", self.augment_recipe, now
            )
        check(self.close_mosaic >= 0, "close_mosaic", self.close_mosaic, "0 or more", "0 keeps them enabled")
        read_steps(self.augment_steps)
        check_augmentation(self)
        if not self.augment:
            mixing = ("mosaic", "mixup", "copy_paste", "autoaugment_policy", "grid_mask", "augment_steps")
            asked = [name for name in mixing if getattr(self, name)]
            if asked:
                logging.warning("--noaugment disables all augmentation; ignored: --%s.", ", --".join(asked))

    @classmethod
    def implied(cls, given: Mapping[str, Value]) -> dict[str, dict[str, Value]]:
        """Returns the options of preset and file: {implying option: {option: value}}, lowest precedence first."""
        config: dict[str, Value] = {}
        if path := given.get("augment_config"):
            kinds = {name: each.kind for name, each in declarations(cls).items() if name != "augment_config"}
            config = read_augment_config(str(path), kinds)
        recipe = str(given.get("augment_recipe", config.get("augment_recipe", "default")))
        check_choice("augment_recipe", recipe, tuple(RECIPES))
        return {"augment_recipe": RECIPES[recipe], "augment_config": config}


def check_augmentation(options: AugmentationOptions) -> None:
    """Raises OptionsError if a number or the policy of `options` is out of range."""
    low, high = options.jitter_min, options.jitter_max
    check(0.0 < low <= high, "jitter_min", low, f"above 0 and at most jitter_max ({high})", "try 0.7")
    check_choice("autoaugment_policy", options.autoaugment_policy or "", POLICIES)
    for name, most in _LIMITS.items():
        value = getattr(options, name)
        check(0 <= value <= most, name, value, f"between 0 and {most}", "leave it out for the default")

"""Options that say how training photos are varied."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from absl import logging

from efficientdet_pipeline.options.general import GeneralOptions, check, check_choice
from efficientdet_pipeline.options.recipes import RECIPES, read_augment_config
from efficientdet_pipeline.options.schema import declarations, option
from efficientdet_pipeline.options.transforms import read_steps

POLICIES = ("", "v0", "v1", "v2", "v3", "test", "randaug")
# Largest value of each; the smallest is 0.
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
class AugmentationOptions(GeneralOptions):
    """How photos are varied."""

    augment: bool = option(True, shapes=True)
    """Vary the photos at all; --noaugment switches everything below off."""
    augment_recipe: str = option("default", choices=tuple(RECIPES))
    """A named set of the options below: none, flip, default, automl, strong, small-data. Options given stand above.
    small-data mixes images (mosaic, copy-paste) and is meant for long runs; in a short one from random weights it gave
    a lower AP than default (docs/scratch-recipe.md)."""
    augment_config: str = option("", path="path")
    """YAML file of the options below and of `steps`; it stands above the recipe and below options given."""
    augment_steps: str = option("", shapes=True)
    """Named steps done to each photo first, a YAML list such as [{name: CenterCrop, height: 300, width: 400}]."""
    input_rand_hflip: bool = option(True, shapes=True)
    """Mirror every other photo."""
    jitter_min: float = option(0.7, shapes=True)
    """Smallest random scale of a photo; google/automl takes 0.1, which suits long runs on many photos."""
    jitter_max: float = option(1.4, shapes=True)
    """Largest random scale of a photo; google/automl takes 2.0."""
    autoaugment_policy: str = option("", choices=POLICIES, shapes=True)
    """AutoAugment policy: v0, v1, v2, v3, test or randaug; empty for none."""
    randaug_magnitude: float = option(10.0, shapes=True)
    """Strength of randaug, 0 to 10. google/automl's 15 lies beyond its scale; 10 is the nearest on it."""
    grid_mask: bool = option(False, shapes=True)
    """Blot out a turned grid of squares in every other photo."""
    hsv_hue: float = option(0.0, shapes=True)
    """Largest random turn of the hue, as a part of the colour circle, up to 0.5; 0.015 is usual."""
    hsv_saturation: float = option(0.0, shapes=True)
    """Largest random change of the saturation, as a part of itself, up to 1; 0.7 is usual."""
    hsv_value: float = option(0.0, shapes=True)
    """Largest random change of the brightness, as a part of itself, up to 1; 0.4 is usual."""
    mosaic: float = option(0.0, shapes=True)
    """Probability that a picture is made of four photos, one in each quarter."""
    mixup: float = option(0.0, shapes=True)
    """Probability that another photo shines through."""
    copy_paste: float = option(0.0, shapes=True)
    """Probability that an object of another photo is pasted in, cut out by its box."""
    close_mosaic: int = option(0, shapes=True)
    """Last epochs, of num_epochs, without mosaic, mixup and copy_paste. A run continued to more epochs closes later."""
    min_visibility: float = option(0.1, shapes=True)
    """Smallest visible part of a box that is kept. A tenth still shows what it is; google/automl (0) keeps slivers."""

    def __post_init__(self) -> None:
        """Checks every range, the recipe and the steps."""
        super().__post_init__()
        check_choice("augment_recipe", self.augment_recipe, tuple(RECIPES))
        check(self.close_mosaic >= 0, "close_mosaic", self.close_mosaic, "0 or more", "0 never closes")
        read_steps(self.augment_steps)
        check_augmentation(self)
        if not self.augment:
            mixing = ("mosaic", "mixup", "copy_paste", "autoaugment_policy", "grid_mask", "augment_steps")
            asked = [name for name in mixing if getattr(self, name)]
            if asked:
                logging.warning("No effect beside --noaugment: --%s.", ", --".join(asked))

    @classmethod
    def implied(cls, given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Returns what the recipe and the file say: {option that says it: {option: value}}, the weaker first."""
        config: dict[str, Any] = {}
        if path := given.get("augment_config"):
            own = {each.name for each in fields(AugmentationOptions)} - {each.name for each in fields(GeneralOptions)}
            declared = declarations(AugmentationOptions)
            config = read_augment_config(path, {name: declared[name].kind for name in own - {"augment_config"}})
        recipe = given.get("augment_recipe", config.get("augment_recipe", "default"))
        check_choice("augment_recipe", recipe, tuple(RECIPES))
        return {"augment_recipe": RECIPES[recipe], "augment_config": config}


def check_augmentation(options: Any) -> None:
    """Raises OptionsError where a number or the policy of `options` is out of its range."""
    low, high = options.jitter_min, options.jitter_max
    check(0.0 < low <= high, "jitter_min", low, f"above 0 and at most jitter_max ({high})", "try 0.7")
    check_choice("autoaugment_policy", options.autoaugment_policy or "", POLICIES)
    for name, most in _LIMITS.items():
        value = getattr(options, name)
        check(0 <= value <= most, name, value, f"between 0 and {most}", "leave it out for the default")

"""The recipe is a function of the facts, every choice has a reason, and its options exist."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from efficientdet_pipeline.models.canvas import SIDES, SIDES_WITH_ACCELERATOR, Canvas
from efficientdet_pipeline.models.recipe import (
    ENOUGH_BOXES,
    EPOCHS,
    MANY_IMAGES,
    SHORT_RUN,
    STEPS,
    AnchorFacts,
    DatasetFacts,
    Recipe,
    Start,
    box_facts,
    choose_recipe,
    judged_classes,
)
from efficientdet_pipeline.options.schema import compose, declarations
from efficientdet_pipeline.options.training import TrainOptions


def canvases(share: float, has_accelerator: bool = False) -> tuple[Canvas, ...]:
    """Returns squares on which the smallest class takes a share of the side."""
    sides = SIDES_WITH_ACCELERATOR if has_accelerator else SIDES
    return tuple(Canvas(height=side, width=side, smallest_side=side * share) for side in sides)


# Blood cells: 292 images of 640 pixels, platelets of 51.
BCCD = DatasetFacts(
    num_images=292,
    num_boxes=4_000,
    start=Start.BACKBONE,
    canvases=canvases(0.08),
    size_spread=0.13,
    has_accelerator=False,
)
FITTED = AnchorFacts(recall=0.5, fitted_recall=0.9, hparams={"anchor_scale": 1.5, "aspect_ratios": (0.5, 1.0, 2.0)})


def options_of(**changes: Any) -> dict[str, Any]:
    return choose_recipe(replace(BCCD, **changes)).options()


def test_choose_recipe_for_blood_cells() -> None:
    options = options_of()
    assert options["image_size"] == "256"
    assert options["optimizer"] == "adam"
    assert (options["jitter_min"], options["jitter_max"]) == (0.9, 1.1)
    assert options["num_epochs"] == round(STEPS / 36)
    assert options["freeze_backbone_epochs"] == round(options["num_epochs"] * 2 / 3)
    assert "hparams" not in options


def test_choose_recipe_is_a_function_of_the_facts() -> None:
    assert choose_recipe(BCCD) == choose_recipe(replace(BCCD))


@pytest.mark.parametrize("start", Start)
@pytest.mark.parametrize("has_accelerator", [False, True])
@pytest.mark.parametrize("num_images", [1, 7, 50, 300, MANY_IMAGES - 1])
def test_choose_recipe_gives_options_that_exist_and_reasons(
    start: Start, has_accelerator: bool, num_images: int
) -> None:
    facts = replace(
        BCCD, start=start, has_accelerator=has_accelerator, num_images=num_images, size_spread=0.5, anchors=FITTED
    )
    recipe = choose_recipe(facts)
    known = declarations(TrainOptions)
    assert recipe.options().keys() <= known.keys()
    assert len(recipe.options()) == len(recipe.choices)
    assert all(choice.reason for choice in recipe.choices)
    options = recipe.options()
    assert EPOCHS[0] <= options["num_epochs"] <= EPOCHS[1]
    assert options.get("freeze_backbone_epochs", 0) < options["num_epochs"]
    assert compose(TrainOptions, url_dataset="demo", **options).optimizer.num_epochs == options["num_epochs"]


@pytest.mark.parametrize(
    ("side", "has_accelerator", "canvas", "words"),
    [
        (0.5, False, 256, "are enough"),
        (0.0782, False, 256, "side of 20 px"),
        (0.0626, False, 320, "are enough"),
        (0.02, False, 320, "maximum on a CPU"),
        (0.0313, True, 640, "side of 20 px"),
        (0.001, True, 640, "maximum"),
        (0.0, True, 256, "no boxes"),
    ],
)
def test_choose_recipe_takes_the_smallest_canvas_that_shows_the_smallest_class(
    side: float, has_accelerator: bool, canvas: int, words: str
) -> None:
    facts = replace(BCCD, canvases=canvases(side, has_accelerator), has_accelerator=has_accelerator)
    recipe = choose_recipe(facts)
    choice = next(choice for choice in recipe.choices if choice.option == "image_size")
    assert choice.value == str(canvas)
    assert words in choice.reason


def test_choose_recipe_lets_sizes_decide_on_the_jitter() -> None:
    assert options_of(size_spread=0.13)["jitter_min"] == 0.9
    assert options_of(size_spread=0.7)["jitter_min"] == 0.7


@pytest.mark.parametrize(
    ("start", "num_images", "rate"),
    [(Start.BACKBONE, 292, 0.032), (Start.BACKBONE, 16, 0.064), (Start.RANDOM, 16, 0.032), (Start.BACKBONE, 80, 0.032)],
)
def test_choose_recipe_takes_a_higher_rate_for_few_steps_from_a_backbone(
    start: Start, num_images: int, rate: float
) -> None:
    options = options_of(start=start, num_images=num_images)
    assert options["learning_rate"] == rate
    num_steps = options["num_epochs"] * (num_images // options["batch_size"])
    assert (num_steps <= SHORT_RUN) == (num_images == 16)


def test_choose_recipe_follows_the_initial_weights() -> None:
    assert options_of(start=Start.RANDOM)["optimizer"] == "adam"
    assert "freeze_backbone_epochs" not in options_of(start=Start.RANDOM)
    assert options_of(start=Start.DETECTOR)["optimizer"] == "sgd"
    assert options_of(start=Start.DETECTOR)["learning_rate"] == 0.04
    assert options_of(start=Start.DETECTOR, is_compressed=True)["learning_rate"] == 0.008
    assert options_of(start=Start.RANDOM, is_compressed=True) == options_of(start=Start.RANDOM)


@pytest.mark.parametrize(
    ("start", "recall", "fitted", "is_fitted"),
    [
        (Start.BACKBONE, 0.5, 0.9, True),
        (Start.BACKBONE, 0.5, 0.52, False),
        (Start.RANDOM, 0.95, 1.0, False),
        (Start.DETECTOR, 0.7, 0.9, False),
        (Start.DETECTOR, 0.1, 0.6, True),
    ],
)
def test_choose_recipe_fits_anchors_only_where_it_pays(
    start: Start, recall: float, fitted: float, is_fitted: bool
) -> None:
    anchors = replace(FITTED, recall=recall, fitted_recall=fitted)
    options = options_of(start=start, anchors=anchors)
    assert options.get("hparams") == ("anchor_scale=1.5,aspect_ratios=[0.5,1,2]" if is_fitted else None)


def test_choose_recipe_keeps_the_defaults_for_many_images() -> None:
    assert choose_recipe(replace(BCCD, num_images=MANY_IMAGES)) == Recipe()
    assert Recipe().lines() == []


def test_recipe_without_leaves_to_the_user_what_was_given() -> None:
    recipe = choose_recipe(BCCD)
    rest = recipe.without({"map_freq", "image_size"})
    assert recipe.options().keys() - rest.options().keys() == {"map_freq", "image_size"}
    assert len(rest.lines()) == len(rest.choices)
    assert rest.lines()[0].split()[0] == "batch_size=8"


@pytest.mark.parametrize("changes", [{"num_images": 0}, {"canvases": ()}, {"size_spread": -1.0}, {"num_boxes": -1}])
def test_dataset_facts_refuses_impossible_numbers(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        replace(BCCD, **changes)


def test_box_facts_measures_the_smallest_class_and_the_spread_within_classes() -> None:
    smallest, spread = box_facts(np.array([10.0, 10, 40, 60, 0]), np.array([1, 1, 2, 2, 3]))
    assert smallest == pytest.approx(10)
    logs = np.log([40, 60])
    assert spread == pytest.approx(float(logs.std()) / 2)
    assert box_facts(np.zeros(0), np.zeros(0)) == (0.0, 0.0)
    assert box_facts(np.zeros(1), np.array([3])) == (0.0, 0.0)


def test_box_facts_leave_a_class_of_few_boxes_out_of_the_smallest_side() -> None:
    sides = np.array([40.0] * ENOUGH_BOXES + [2.0] * (ENOUGH_BOXES - 1))
    ids = np.array([1] * ENOUGH_BOXES + [2] * (ENOUGH_BOXES - 1))
    assert box_facts(sides, ids)[0] == 40
    # If no class has more boxes, it decides.
    assert box_facts(sides[ENOUGH_BOXES - 1 :], ids[ENOUGH_BOXES - 1 :])[0] == 2
    assert judged_classes(ids).tolist() == [1]


@pytest.mark.parametrize(
    ("given", "others"),
    [
        ("optimizer", {"learning_rate", "lr_warmup_init"}),
        ("learning_rate", {"lr_warmup_init"}),
        ("jitter_min", {"jitter_max"}),
        ("augment_recipe", {"jitter_min", "jitter_max", "mosaic"}),
        ("var_freeze_expr", {"freeze_backbone_epochs"}),
    ],
)
def test_recipe_without_leaves_out_what_depends_on_a_given_option(given: str, others: set[str]) -> None:
    recipe = choose_recipe(BCCD)
    assert recipe.options().keys() - recipe.without([given]).options().keys() == others | (
        {given} & recipe.options().keys()
    )


@pytest.mark.parametrize(("num_epochs", "frozen", "every"), [(1, 0, 1), (2, 1, 1), (3, 2, 1), (15, 10, 3)])
def test_choose_recipe_follows_the_length_that_was_given(num_epochs: int, frozen: int, every: int) -> None:
    options = options_of(num_epochs=num_epochs, batch_size=4)
    assert (options["num_epochs"], options["batch_size"]) == (num_epochs, 4)
    assert (options.get("freeze_backbone_epochs", 0), options["map_freq"]) == (frozen, every)
    assert options_of(start=Start.DETECTOR, num_epochs=1)["lr_warmup_epoch"] == 0.25
    assert [options_of(num_images=count)["batch_size"] for count in (3, 39, 40)] == [3, 4, 8]


def test_facts_refuse_a_length_of_nothing() -> None:
    with pytest.raises(ValueError, match="num_epochs must be at least 1, or None"):
        replace(BCCD, num_epochs=0)

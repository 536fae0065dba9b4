"""Recipe of a run: chosen once from its data, recorded in metadata.json, and applied to its options.

A resumed run keeps its recipe and trains with the original values, even if the
data, the weights or the device would lead to another recipe.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from absl import logging

from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.data.dataset_stats import ShardBoxes, read_boxes
from efficientdet_pipeline.models.anchor_fit import AnchorGrid, canvas_scales, class_weights, fit_anchors, recall
from efficientdet_pipeline.models.build import describe_network
from efficientdet_pipeline.models.canvas import SIDES, SIDES_WITH_ACCELERATOR, Canvas, fit_canvas
from efficientdet_pipeline.models.pretrained import StartWeights, has_heads
from efficientdet_pipeline.models.recipe import (
    MANY_IMAGES,
    AnchorFacts,
    Choice,
    DatasetFacts,
    Recipe,
    Start,
    box_facts,
    choose_recipe,
    judged_classes,
)
from efficientdet_pipeline.options import schema
from efficientdet_pipeline.options.hparams import HparamsGiven, network_overrides, read_hparams
from efficientdet_pipeline.options.training import TrainOptions

RECIPE = "recipe"
"""Field of metadata.json and of the run's identity."""
NONE = "none"
TURNS_IT_OFF = (
    "image_size",
    "hparams",
    "optimizer",
    "learning_rate",
    "lr_warmup_init",
    "lr_warmup_epoch",
    "freeze_backbone_epochs",
    "var_freeze_expr",
    "augment",
    "augment_recipe",
    "augment_config",
    "jitter_min",
    "jitter_max",
    "mosaic",
    "use_fake_data",
)
"""Options that disable the recipe if given; length, batch size and evaluations do not."""
_ANCHORS = ("anchor_scale", "aspect_ratios", "num_scales")


def is_wanted(recipe: str, given: Collection[str]) -> bool:
    """Returns whether a new run chooses a recipe.

    Args:
      recipe: --recipe: auto, none, or empty for the default.
      given: names of the options that were given.
    """
    return recipe == "auto" or (not recipe and not set(TURNS_IT_OFF) & set(given))


def log_unused(options: TrainOptions, given: Collection[str]) -> None:
    """Logs why a run has no recipe, unless that was requested."""
    deciding = [name for name in TURNS_IT_OFF if name in given]
    if not options.recipe and deciding:
        logging.info(
            "Recipe: none, because %s %s given; --recipe=auto chooses the other options from the dataset.",
            ", ".join(f"--{name}" for name in deciding),
            "is" if len(deciding) == 1 else "are",
        )


@dataclass(frozen=True)
class RecipeRun:
    """The options of a run with its recipe applied."""

    options: TrainOptions
    hparams: HparamsGiven
    sources: Mapping[str, str]
    """Option → reason of its value, for options set by the recipe."""


def apply_recipe(recipe: Recipe, options: TrainOptions, hparams: HparamsGiven, given: Collection[str]) -> RecipeRun:
    """Returns the options with the values of a recipe for those that were not given.

    Anchors of the recipe are merged with --hparams, whose own keys take
    precedence.
    """
    kept = recipe.without(set(given) - {"hparams"})
    values = kept.options()
    sources = {choice.option: f"--recipe=auto: {choice.reason}" for choice in kept.choices}
    if "hparams" in values:
        text = str(values["hparams"])
        network = read_hparams(text, "--recipe=auto", TrainOptions).network
        hparams = replace(hparams, network={**network, **hparams.network})
        values["hparams"] = ",".join(filter(None, (text, options.model.hparams)))
    return RecipeRun(schema.replace(options, **values, recipe="auto"), hparams, sources)


def recorded_recipe(metadata: Mapping[str, object]) -> Recipe | None:
    """Returns the recipe that a run was started with; None if it has none."""
    recorded = metadata.get(RECIPE)
    return Recipe(tuple(Choice(**choice) for choice in recorded)) if isinstance(recorded, list) else None


def recipe_metadata(recipe: Recipe) -> dict[str, object]:
    """Returns the field for metadata.json."""
    return {RECIPE: [asdict(choice) for choice in recipe.choices]}


def log_recipe(recipe: Recipe, given: Collection[str], *, is_resumed: bool) -> None:
    """Logs the table of the recipe's choices."""
    kept = recipe.without(set(given) - {"hparams"})
    begun = "as at the start of the run" if is_resumed else "--recipe=none keeps the defaults"
    if kept.choices:
        logging.info("Recipe (%s; explicit options take precedence):\n%s", begun, "\n".join(kept.lines()))
    else:
        logging.info("Recipe: google/automl's defaults, which suit %s images or more.", f"{MANY_IMAGES:,}")


def choose_for_run(
    options: TrainOptions,
    hparams: HparamsGiven,
    shards: Shards,
    start: StartWeights,
    *,
    model_name: str,
    given: Collection[str],
    has_accelerator: bool,
) -> Recipe:
    """Returns the recipe for the training shards of a run, without the options that were given.

    Args:
      options: of the run.
      hparams: values of --hparams.
      shards: to train on.
      start: the initial weights.
      model_name: of the network.
      given: names of the options that were given.
      has_accelerator: whether there is a device other than the CPU.
    """
    num_images = options.num_examples_per_epoch or shards.num_train
    if num_images >= MANY_IMAGES:
        return Recipe()
    found = read_boxes(shards.train, skip_crowd=options.skip_crowd_during_training)
    stretches = network_overrides(options.model, hparams).get("resize") == "stretch"
    resize = "stretch" if stretches else "letterbox"
    canvases = _canvases(found, SIDES_WITH_ACCELERATOR if has_accelerator else SIDES, resize)
    _, size_spread = box_facts(_sides(found, (1, 1), resize), found.class_ids)
    facts = DatasetFacts(
        num_images=num_images,
        num_boxes=len(found.boxes),
        start=_start(start, options.data.images.cache_dir),
        canvases=canvases,
        size_spread=size_spread,
        has_accelerator=has_accelerator,
        num_epochs=options.optimizer.num_epochs if "num_epochs" in given else None,
        # --batch_size=auto is not resolved yet.
        batch_size=options.optimizer.batch_size or None if "batch_size" in given else None,
        is_compressed=bool(options.compression.asked_for),
    )
    if not set(_ANCHORS) & hparams.network.keys():
        image_size = options.model.image_size or str(choose_recipe(facts).options()["image_size"])
        facts = replace(facts, anchors=_anchors(found, options, hparams, model_name, image_size))
    recipe = choose_recipe(facts).without(set(given) - {"hparams"})
    # They have no effect in --mode=train.
    return recipe if options.evaluates else recipe.without(["map_freq", "val_loss"])


def _canvases(found: ShardBoxes, sides: Sequence[int], resize: str) -> tuple[Canvas, ...]:
    canvases = []
    for side in sides:
        height, width = fit_canvas(found.image_sizes, side, resize=resize)
        smallest_side, _ = box_facts(_sides(found, (height, width), resize), found.class_ids)
        canvases.append(Canvas(height=height, width=width, smallest_side=smallest_side))
    return tuple(canvases)


def _sides(found: ShardBoxes, canvas: tuple[int, int], resize: str) -> np.ndarray:
    """Returns (n,): the root of the area of each box in pixels of a canvas."""
    sides = found.boxes[:, 2:] - found.boxes[:, :2]
    return np.sqrt((sides.clip(min=0) * canvas_scales(found.image_sizes, canvas, resize=resize)).prod(axis=1))


def _start(start: StartWeights, cache_dir: str) -> Start:
    if not start.place:
        return Start.RANDOM
    return Start.DETECTOR if has_heads(start, cache_dir=cache_dir) else Start.BACKBONE


def _anchors(
    found: ShardBoxes, options: TrainOptions, hparams: HparamsGiven, model_name: str, image_size: str
) -> AnchorFacts | None:
    """Returns the match of the model's own and of fitted anchors with the boxes on the canvas; None without boxes."""
    overrides = network_overrides(schema.replace(options, image_size=image_size).model, hparams)
    config = describe_network(model_name, {**overrides, "num_classes": 1}, {}).config
    grid = AnchorGrid.of(config)
    if not len(found.boxes):
        return None
    boxes = found.boxes * np.tile(canvas_scales(found.image_sizes, grid.image_size, resize=config.resize), 2)
    fitted = fit_anchors(grid, boxes, class_weights(found.class_ids))
    new: dict[str, float | tuple[float, ...]] = {}
    if fitted.anchor_scale != grid.anchor_scale:
        new["anchor_scale"] = fitted.anchor_scale[0]
    if fitted.aspect_ratios != grid.aspect_ratios:
        new["aspect_ratios"] = tuple(float(ratio) for ratio in fitted.aspect_ratios)  # type: ignore[arg-type]
    ids = found.class_ids
    return AnchorFacts(
        recall=_least_recall(grid, boxes, ids), fitted_recall=_least_recall(fitted, boxes, ids), hparams=new
    )


def _least_recall(grid: AnchorGrid, boxes: np.ndarray, class_ids: np.ndarray) -> float:
    """Returns the lowest recall of a class, among those with enough boxes.

    Over all boxes, a class of small objects would hardly count.
    """
    return min(recall(grid, boxes[class_ids == class_id]) for class_id in judged_classes(class_ids))

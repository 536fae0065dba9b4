"""Run session: opens a run directory, new or resumed, and checks its options."""

import contextlib
import functools
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from absl import logging

from efficientdet_pipeline.console import log_to_file
from efficientdet_pipeline.data.dataset_info import shards_identity
from efficientdet_pipeline.json_fields import integer_field, object_field
from efficientdet_pipeline.models.build import model_name
from efficientdet_pipeline.models.detector_parts import config_text, keep_config
from efficientdet_pipeline.models.recipe import Recipe
from efficientdet_pipeline.options import schema
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.parser import Sources
from efficientdet_pipeline.options.schema import changed, declarations
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.runs import metadata as records
from efficientdet_pipeline.runs import run_id
from efficientdet_pipeline.runs.metadata import log_options, sources_of
from efficientdet_pipeline.runs.ownership import held
from efficientdet_pipeline.runs.run_dir import RunFolder, run_folder
from efficientdet_pipeline.tasks.task import Task
from efficientdet_pipeline.training import checkpoint_io, run_network, run_recipe


@dataclass(frozen=True, kw_only=True)
class RunSession:
    """An opened run."""

    folder: RunFolder
    model_name: str
    identity: str
    """Identity of the run's data."""
    image_size: int | str
    """Canvas size: one number or WIDTHxHEIGHT."""
    shape: dict[str, object]
    is_resumed: bool
    """Whether there is a checkpoint to resume from."""
    is_finished: bool
    """Whether the run has already finished with these options."""
    options: TrainOptions
    """Options of the run, including those of its recipe if it is already chosen."""
    hparams: HparamsGiven
    """Likewise."""
    chooses_recipe: bool
    """Whether a recipe is still to be chosen from the data."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Option → reason of its value, for options set before the data were read: a network that was chosen."""

    def with_recipe(self, recipe: Recipe, read: Sources) -> "RunSession":
        """Records the recipe of a new run, logs it, and returns the session with its options."""
        given = sources_of(read, self.hparams)
        run_recipe.log_recipe(recipe, given, is_resumed=False)
        found = run_recipe.apply_recipe(recipe, self.options, self.hparams, given)
        records.update_json(self.folder.metadata, run_recipe.recipe_metadata(recipe))
        records.write_args(self.folder.args, found.options, {**self.sources, **found.sources, **given})
        return replace(self, options=found.options, hparams=found.hparams, chooses_recipe=False)


@contextmanager
def start_or_resume_run(
    task: Task,
    options: TrainOptions,
    read: Sources,
    hparams: HparamsGiven,
    *,
    is_chief: bool = True,
    is_alone: bool = True,
) -> Iterator[RunSession]:
    """Opens and locks the run of the options, new or resumed.

    Args:
      task: of the run.
      options: of the mode.
      read: the source of each option.
      hparams: values of --hparams.
      is_chief: whether this process locks and writes the run; the others of a
        process group only read.
      is_alone: whether this is the only process of the training. Of several, each
        would choose a network by what its own machine has: they take the default.
    """
    given = sources_of(read, hparams)
    place = _find_place(task, options, hparams, given, is_alone=is_alone)
    options, shape, folder = place.options, place.shape, place.folder
    with held(folder, overwrite=options.data.conversion.overwrite) if is_chief else contextlib.nullcontext():
        before = records.read_json(folder.metadata)
        last = checkpoint_io.find_checkpoint(folder.last)
        previous_shape = object_field(before, "shaping")
        # Before the first checkpoint, options may still be changed.
        if previous_shape and last is not None:
            defaults = {name: each.default for name, each in declarations(type(options)).items()}
            defaults[run_recipe.RECIPE] = run_recipe.NONE
            asked_for = {run_recipe.RECIPE: run_recipe.NONE, **shape}
            run_id.check_same_run(str(folder.path), previous_shape, asked_for, defaults)
        has_recipe = shape.get(run_recipe.RECIPE) == "auto"
        # The chief has recorded the values that the other processes use.
        recipe = run_recipe.recorded_recipe(before) if has_recipe and (last is not None or not is_chief) else None
        found = run_recipe.apply_recipe(recipe or Recipe(), options, hparams, given)
        own = found if recipe is not None else run_recipe.RecipeRun(options, hparams, {})
        if is_chief:
            log_to_file(folder.log)
            if place.reason:
                run_network.log_network(place.name, place.reason)
            keep_config(options.model, folder)
            log_options(folder.path, options, read, hparams)
            if recipe is not None:
                run_recipe.log_recipe(recipe, given, is_resumed=True)
            elif not has_recipe and task.has_recipe:
                run_recipe.log_unused(options, given)
            records.write_args(folder.args, own.options, {**place.sources, **own.sources, **given})
        yield RunSession(
            folder=folder,
            model_name=place.name,
            identity=place.identity,
            image_size=place.image_size,
            shape=shape,
            is_resumed=last is not None,
            is_finished=last is not None and _is_finished(before, own.options),
            options=own.options,
            hparams=own.hparams,
            chooses_recipe=has_recipe and recipe is None,
            sources=place.sources,
        )


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A network, and the run of the options with that network."""

    name: str
    reason: str
    """Reason of the network if no option names it and it is not the default."""
    options: TrainOptions
    identity: str
    image_size: int | str
    shape: dict[str, object]
    folder: RunFolder

    @property
    def sources(self) -> dict[str, str]:
        return {"model_name": f"--recipe=auto: {self.reason}"} if self.reason else {}


def _find_place(
    task: Task, options: TrainOptions, hparams: HparamsGiven, given: Collection[str], *, is_alone: bool
) -> _Place:
    """Returns the run of the options, with the network that they name or the recipe chooses."""
    identity = shards_identity(options)

    @functools.cache
    def place_of(name: str) -> _Place:
        # Report a wrong model name before anything is written.
        height, width = task.image_size(name, options, hparams)
        image_size = width if width == height else f"{width}x{height}"
        shape = _shape(options, hparams, name, image_size, identity)
        shape, folder = _find_folder(task, options, name, shape, given)
        return _Place(
            name=name,
            reason="",
            options=options,
            identity=identity,
            image_size=image_size,
            shape=shape,
            folder=folder,
        )

    def is_begun(name: str) -> bool:
        if options.data.conversion.overwrite:
            return False
        place = place_of(name)
        begun_with = object_field(records.read_json(place.folder.metadata), "shaping")
        return begun_with.get("model_name") == name and checkpoint_io.has_checkpoint(place.folder.last)

    if not (is_alone and task.has_recipe and run_network.is_open(options, hparams, given)):
        return place_of(model_name(options.model, options.pretrained.backbone_ref))
    name, reason = run_network.choose_network(options, is_begun)
    if not reason:
        return place_of(name)
    return replace(place_of(name), reason=reason, options=schema.replace(options, model_name=name))


def _shape(
    options: TrainOptions, hparams: HparamsGiven, name: str, image_size: int | str, identity: str
) -> dict[str, object]:
    config = config_text(options.model)
    return run_id.shaping(
        options,
        hparams.network,
        {
            "model_name": name,
            "backbone_ref": options.pretrained.backbone_ref or name,
            "image_size": str(image_size),
            "data": identity,
            # Only where they are not the default, so that runs of earlier versions keep their names.
            **({"resize": options.model.resize} if options.model.resize == "stretch" else {}),
            **options.compression.asked_for,
            **({"model_config": config} if config else {}),
            **changed(options.class_networks),
        },
    )


def _find_folder(
    task: Task, options: TrainOptions, name: str, shape: dict[str, object], given: Collection[str]
) -> tuple[dict[str, object], RunFolder]:
    """Returns the shaping options of the run, its recipe included, and its folder.

    A run that was started without a recipe, such as one of an earlier version,
    continues without one, under its original name.
    """

    def folder_of(shape: dict[str, object]) -> RunFolder:
        return run_folder(
            options.run,
            run_id.run_name(name, shape),
            path_output=options.path_output,
            output_path=options.data.conversion.output_path,
            path_metadata=options.data.conversion.path_metadata,
        )

    if not task.has_recipe:
        if options.recipe == "auto":
            logging.warning("--recipe=auto has no effect: the task %s has no recipes.", task.name)
        return shape, folder_of(shape)
    if not run_recipe.is_wanted(options.recipe, given):
        # If a recipe is the default, a run without one is a different run.
        shape = {**shape, run_recipe.RECIPE: run_recipe.NONE} if run_recipe.is_wanted("", given) else shape
        return shape, folder_of(shape)
    earlier = folder_of(shape)
    begun_with = object_field(records.read_json(earlier.metadata), "shaping")
    if not options.recipe and begun_with and checkpoint_io.has_checkpoint(earlier.last):
        had = begun_with.get(run_recipe.RECIPE, run_recipe.NONE)
        if had == run_recipe.NONE:
            logging.info("The run %s was started without a recipe and continues without one.", earlier.path)
            return shape, earlier
    own_size = {} if "image_size" in given else {"image_size": "auto"}
    shape = {**shape, **own_size, run_recipe.RECIPE: "auto"}
    return shape, folder_of(shape)


def finished_with(options: TrainOptions) -> dict[str, object]:
    """Returns the fields of metadata.json with the number of epochs and the patience at which a mode finished."""
    return {
        f"epochs_finished_by_{options.general.mode}": options.optimizer.num_epochs,
        "patience_at_the_end": options.checkpointing.patience,
    }


def _is_finished(metadata: dict[str, object], options: TrainOptions) -> bool:
    had = integer_field(metadata, "patience_at_the_end", 0)
    # A run that may have stopped early resumes with a larger patience.
    is_more_patient = had > 0 and not 0 < options.checkpointing.patience <= had
    return (
        integer_field(metadata, f"epochs_finished_by_{options.general.mode}", 0) >= options.optimizer.num_epochs
        and not is_more_patient
    )

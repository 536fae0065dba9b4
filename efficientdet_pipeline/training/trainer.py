"""Trainer: prepares data, model and callbacks of a run, and trains it to its end."""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import efficientdet
import keras
from absl import logging

from efficientdet_pipeline.console import is_terminal
from efficientdet_pipeline.data import input_pipeline
from efficientdet_pipeline.data.batch_images import images_of_step
from efficientdet_pipeline.data.class_weights import class_weights
from efficientdet_pipeline.data.dataset_info import NAMES_IN_SHARDS, Shards, compare_validation, find_shards
from efficientdet_pipeline.data.input_pipeline import InputConfig, build_augmenter, training_batches
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.evaluation import format_table
from efficientdet_pipeline.evaluation.evaluator import Evaluator
from efficientdet_pipeline.evaluation.ground_truth import GroundTruth, validation_truth
from efficientdet_pipeline.models.build import Network, describe_network
from efficientdet_pipeline.models.pretrained import (
    StartWeights,
    check_pretrained,
    choice_metadata,
    chosen_by_chief,
    load_pretrained,
)
from efficientdet_pipeline.options.hparams import HparamsGiven, network_overrides
from efficientdet_pipeline.options.parser import Sources
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.runs import metadata
from efficientdet_pipeline.runs.metadata import advise_on_random_weights
from efficientdet_pipeline.runs.run_dir import RunFolder
from efficientdet_pipeline.training import auto_batch, finalize, strategy
from efficientdet_pipeline.training.build import build_training_model
from efficientdet_pipeline.training.checkpoint_callback import CheckpointCallback
from efficientdet_pipeline.training.distributed import ProcessGroup
from efficientdet_pipeline.training.finalize import draw_predictions
from efficientdet_pipeline.training.loop import train
from efficientdet_pipeline.training.reporting import Report, draw_training_data
from efficientdet_pipeline.training.run_config import RunConfig, RunPaths
from efficientdet_pipeline.training.run_recipe import choose_for_run
from efficientdet_pipeline.training.session import RunSession, finished_with, start_or_resume_run
from efficientdet_pipeline.training.stop_sync import StopSync

EVALUATIONS_PER_RUN = 10
IMAGES_PER_EVALUATION = 4


def build_run_config(options: TrainOptions, shards: Shards) -> RunConfig:
    """Returns the run configuration; raises OptionsError if a batch is larger than the data."""
    batch_size, num_epochs = options.optimizer.batch_size, options.optimizer.num_epochs
    checkpointing = options.checkpointing
    examples = options.num_examples_per_epoch or shards.num_train
    if batch_size > shards.num_train or batch_size > examples:
        raise OptionsError(
            f"batch_size must not be larger than the training data. Received batch_size={batch_size} with "
            f"{min(examples, shards.num_train)} images per epoch; try --batch_size={min(examples, shards.num_train)}.",
            option="batch_size",
        )
    steps = examples // batch_size
    run_config = RunConfig(
        num_epochs=num_epochs,
        steps_per_epoch=steps,
        batch_size=batch_size,
        evaluate_every=checkpointing.map_freq or max(1, round(num_epochs / EVALUATIONS_PER_RUN)),
        save_every=_save_every(checkpointing.save_freq, steps),
        keep=checkpointing.keep,
        patience=checkpointing.patience if options.evaluates else 0,
        max_bad_steps=checkpointing.max_bad_steps,
        grace_seconds=checkpointing.grace_seconds,
        steps_per_execution=options.hardware.steps_per_execution,
        profile=options.hardware.profile,
    )
    logging.info(
        "Training %d epochs of %d steps, %d images per step.",
        run_config.num_epochs,
        run_config.steps_per_epoch,
        run_config.batch_size,
    )
    return run_config


def _save_every(save_freq: str, steps_per_epoch: int) -> int:
    """Returns the steps between checkpoints, or 0 for saving by time."""
    return {"auto": 0, "epoch": steps_per_epoch}[save_freq] if save_freq.isalpha() else int(save_freq)


def build_checkpoint_callback(
    run_config: RunConfig,
    folder: RunFolder,
    network: Network,
    evaluator: Evaluator | None,
    stream: InputConfig,
    num_partners: int,
) -> CheckpointCallback:
    """Returns the checkpoint callback of a run; without an evaluator it does not evaluate."""
    paths = RunPaths(
        last=folder.last,
        best=folder.best,
        results=folder.results,
        curves=folder.curves,
        tensorboard=folder.tensorboard,
        incidents=folder.incidents,
        bad_steps=folder.bad_steps,
    )
    return CheckpointCallback(
        run_config,
        paths,
        evaluate=partial(_evaluate, evaluator) if evaluator is not None else None,
        write_network=network.write,
        draw=partial(draw_predictions, network, evaluator, count=IMAGES_PER_EVALUATION)
        if evaluator is not None
        else None,
        images_of=partial(images_of_step, stream, num_partners),
    )


def _evaluate(evaluator: Evaluator, epoch: int) -> dict[str, Any]:
    metrics = evaluator()
    evaluator.kept.keep(epoch, metrics["AP"])
    logging.info("epoch %d, validation:\n%s", epoch, format_table(metrics))
    return metrics


def train_run(
    options: TrainOptions, read: Sources, hparams: HparamsGiven, *, report: Report | None = None
) -> RunFolder:
    """Trains the run of the options to its end, resuming from its last checkpoint, and returns its folder.

    Args:
      options: options of the mode.
      read: the source of each option.
      hparams: values of --hparams.
      report: checks the data before a new run trains, unless --nodoctor; draws and explains, unless --noanalysis.
    """
    process_group = strategy.init_process_group(options.hardware.strategy)
    if not process_group.is_chief:
        # The chief prepares what all processes read.
        process_group.barrier()
    with start_or_resume_run(options, read, hparams, is_chief=process_group.is_chief) as run_:
        options, hparams = run_.options, run_.hparams
        if run_.is_finished:
            process_group.barrier()
            finalize.log_finished_run(run_.folder, options)
            return run_.folder
        start = _initial_weights(options, run_, process_group)
        shards = find_shards(options, run_.folder, run_.identity, run_.image_size, hparams)
        own = _with_recipe(run_, read, start, shards)
        options, hparams = own.options, own.hparams
        network = describe_network(
            run_.model_name,
            {"num_classes": shards.num_classes, **network_overrides(options.model, hparams)},
            shards.label_map,
        )
        _check_classes(network, shards)
        options = auto_batch.resolve_batch_size(options, run_, shards, network.config, process_group)
        run_config = build_run_config(options, shards)
        truth = validation_truth(options, network, shards, is_chief=process_group.is_chief)
        if process_group.is_chief:
            compare_validation(run_.folder, shards, is_begun=run_.is_resumed)
            if report is not None and options.doctor and not run_.is_resumed:
                report.check_data(options, shards, network.config)
            num_examples = run_config.steps_per_epoch * run_config.batch_size
            about = metadata.training_metadata(
                options, name=run_.model_name, num_examples=num_examples, shape=run_.shape
            )
            metadata.update_json(run_.folder.metadata, {**about, NAMES_IN_SHARDS: shards.recorded_names})
            process_group.barrier()
        report = report if options.evaluation.analysis and process_group.is_chief else None
        with auto_batch.oom_handler(options, shards, network.config, process_group):
            data = _RunData(shards, truth)
            detector, evaluator = _train(options, run_, start, network, data, run_config, process_group, report)
        if process_group.is_chief:
            finalize.finalize_run(options, run_.folder, network, detector, evaluator, report=report)
            metadata.update_json(run_.folder.metadata, finished_with(options))
        return run_.folder


def _initial_weights(options: TrainOptions, run_: RunSession, process_group: ProcessGroup) -> StartWeights | None:
    """Returns what a new run starts from, as the chief chose it; None for one that goes on from its checkpoint."""
    if run_.is_resumed:
        return None
    cache_dir = options.data.images.cache_dir
    if not process_group.is_chief:
        about = metadata.read_json(run_.folder.metadata)
        return chosen_by_chief(options.pretrained, run_.model_name, about, cache_dir=cache_dir)
    start = check_pretrained(options.pretrained, run_.model_name, cache_dir=cache_dir)
    metadata.update_json(run_.folder.metadata, choice_metadata(start))
    return start


def _with_recipe(run_: RunSession, read: Sources, start: StartWeights | None, shards: Shards) -> RunSession:
    """Returns the run with the options of its recipe, which is chosen here where the run is new."""
    if start is None or not run_.chooses_recipe:
        return run_
    recipe = choose_for_run(
        run_.options,
        run_.hparams,
        shards,
        start,
        model_name=run_.model_name,
        given=metadata.sources_of(read, run_.hparams),
        has_accelerator=not strategy.is_on_cpu(),
    )
    return run_.with_recipe(recipe, read)


def _check_classes(network: Network, shards: Shards) -> None:
    if list(network.config.heads) != ["object_detection"]:
        raise OptionsError(
            "heads must be object_detection only: the shards hold no masks to train another head. "
            f"Received {', '.join(network.config.heads)} (--hparams); leave heads out.",
            option="hparams",
        )
    given = network.config.num_classes
    if given < shards.num_classes:
        raise OptionsError(
            f"num_classes must be at least the largest label id of the data, {shards.num_classes}. Received {given}; "
            "leave it out to take it from the data.",
            option="num_classes",
        )
    if given == shards.num_classes + 1:
        logging.warning(
            "num_classes is %d and the largest label id %d. Background is not a class here; class %d will have no "
            "examples.",
            given,
            shards.num_classes,
            given,
        )


class _RunData(NamedTuple):
    """What a training learns from, and what its evaluations compare with."""

    shards: Shards
    truth: GroundTruth | None


def _train(
    options: TrainOptions,
    run_: RunSession,
    start: StartWeights | None,
    network: Network,
    data: _RunData,
    run_config: RunConfig,
    process_group: ProcessGroup,
    report: Report | None,
) -> tuple[keras.Model, Evaluator | None]:
    config, (shards, truth) = network.config, data
    weights = class_weights(options.optimizer.class_weights, shards, config.num_classes)
    with strategy.build_strategy(options).scope():
        detector = efficientdet.build_model(config)
        if start is not None:
            loaded = load_pretrained(detector, options.pretrained, start, cache_dir=options.data.images.cache_dir)
            if process_group.is_chief:
                metadata.update_json(run_.folder.metadata, loaded)
                if loaded["pretrained"] is None:
                    advise_on_random_weights(options, run_config.num_steps)
        model = build_training_model(
            detector, config, options, steps_per_epoch=run_config.steps_per_epoch, class_weights=weights
        )
    if process_group.count > 1:
        model.callbacks.append(StopSync(process_group))
    evaluator = _build_evaluator(options, detector, network, truth)
    mosaic_end = input_pipeline.close_mosaic_step(
        options.augmentation,
        num_epochs=run_config.num_epochs,
        samples_per_epoch=run_config.steps_per_epoch * run_config.batch_size,
    )
    augmenter = build_augmenter(options.augmentation, config, mixing_ends=mosaic_end)
    cache = run_.folder.path / (f"cache-{process_group.index}" if process_group.index else "cache")
    with (
        input_pipeline.open_input_config(options, shards, config.image_size, cache) as input_config,
        process_group.training(),
    ):
        stream = dataclasses.replace(input_config, num_hosts=process_group.count, host_index=process_group.index)
        checkpoint_callback = build_checkpoint_callback(
            run_config, run_.folder, network, evaluator, input_config, augmenter.num_partners
        )
        bar = is_terminal() and process_group.is_chief
        if not run_.is_resumed:
            draw_training_data(report, run_.folder, input_config, augmenter, network.label_map)
        train(
            model,
            lambda position: training_batches(stream, augmenter, position=position),
            run_config,
            checkpoint_callback,
            bar=bar,
        )
    if process_group.count > 1:
        strategy.destroy_process_group()
        # Variables on several processes cannot be assigned by one; the chief continues with its own model.
        detector = efficientdet.build_model(config)
        evaluator = _build_evaluator(options, detector, network, truth)
    return detector, evaluator


def _build_evaluator(
    options: TrainOptions, detector: keras.Model, network: Network, truth: GroundTruth | None
) -> Evaluator | None:
    if truth is None:
        return None
    return Evaluator(
        detector,
        network.config,
        truth,
        label_map=network.label_map,
        batch_size=options.optimizer.batch_size,
    )

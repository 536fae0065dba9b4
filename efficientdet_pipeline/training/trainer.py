"""Trainer: prepares data, model and callbacks of a run of any task, and trains it to its end."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import keras
from absl import logging
from efficientdet.training_model import Objective

from efficientdet_pipeline.compression.support import check_compression, check_start
from efficientdet_pipeline.console import is_terminal
from efficientdet_pipeline.data.dataset_info import NAMES_IN_SHARDS, Shards, compare_validation, find_shards
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.evaluation.metrics import Metrics
from efficientdet_pipeline.export.publish import publish_export
from efficientdet_pipeline.inference.extras import check_installed
from efficientdet_pipeline.models.detector_parts import with_config_of_run
from efficientdet_pipeline.models.pretrained import StartWeights, choice_metadata
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.parser import Sources
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.runs import metadata
from efficientdet_pipeline.runs.run_dir import RunFolder
from efficientdet_pipeline.tasks import task_of
from efficientdet_pipeline.tasks.task import LogLayout, Task, TaskEvaluator, TaskSetup, TrainingInput
from efficientdet_pipeline.training import auto_batch, finalize, strategy
from efficientdet_pipeline.training.build import build_training_model
from efficientdet_pipeline.training.checkpoint_callback import CheckpointCallback
from efficientdet_pipeline.training.distributed import ProcessGroup
from efficientdet_pipeline.training.loop import train
from efficientdet_pipeline.training.reporting import Report, draw_training_data
from efficientdet_pipeline.training.run_config import RunConfig, RunPaths
from efficientdet_pipeline.training.run_recipe import choose_for_run
from efficientdet_pipeline.training.session import RunSession, finished_with, start_or_resume_run
from efficientdet_pipeline.training.stop_sync import StopSync
from efficientdet_pipeline.training.trackers import Trackers, check_trackers
from efficientdet_pipeline.training.validation_loss import ValidationLoss, with_validation_loss
from tfrmod.counted import counted

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
        "Training %s of %s, %s per step.",
        counted(run_config.num_epochs, "epoch"),
        counted(run_config.steps_per_epoch, "step"),
        counted(run_config.batch_size, "image"),
    )
    return run_config


def _save_every(save_freq: str, steps_per_epoch: int) -> int:
    """Returns the steps between checkpoints, or 0 for saving by time."""
    return {"auto": 0, "epoch": steps_per_epoch}[save_freq] if save_freq.isalpha() else int(save_freq)


def build_checkpoint_callback(
    run_config: RunConfig,
    folder: RunFolder,
    setup: TaskSetup,
    evaluator: TaskEvaluator | None,
    batches: TrainingInput,
    layout: LogLayout,
    *,
    tensorboard: Path | None = None,
) -> CheckpointCallback:
    """Returns the checkpoint callback of a run; without an evaluator it does not evaluate.

    Args:
      tensorboard: folder for TensorBoard; None: in the run's folder.
    """
    paths = RunPaths(
        last=folder.last,
        best=folder.best,
        results=folder.results,
        curves=folder.curves,
        tensorboard=tensorboard or folder.tensorboard,
        incidents=folder.incidents,
        bad_steps=folder.bad_steps,
    )
    return CheckpointCallback(
        run_config,
        paths,
        layout=layout,
        evaluate=partial(_evaluate, setup, evaluator) if evaluator is not None else None,
        write_network=setup.network.write,
        draw=partial(finalize.draw_latest, folder.pictures, evaluator, IMAGES_PER_EVALUATION)
        if evaluator is not None
        else None,
        images_of=batches.images_of,
    )


def _validation_loss(
    options: TrainOptions, network: keras.Model, objective: Objective, batches: TrainingInput
) -> ValidationLoss | None:
    if not options.tracking.val_loss:
        return None
    if batches.validation is None:
        logging.warning("val_loss has no effect: this task has no batches of validation images.")
        return None
    return ValidationLoss(network, objective, batches.validation)


def _evaluate(setup: TaskSetup, evaluator: TaskEvaluator, epoch: int) -> Metrics:
    metrics = evaluator(epoch)
    logging.info("epoch %d, validation:\n%s", epoch, setup.format_table(metrics.as_dict()))
    return metrics


def train_run(
    options: TrainOptions, read: Sources, hparams: HparamsGiven, *, report: Report | None = None
) -> RunFolder:
    """Trains the run of the options to its end, resuming from its last checkpoint, and returns its folder.

    Args:
      options: options of the mode.
      read: the source of each option.
      hparams: values of --hparams.
      report: checks the data of a new run, unless --nodoctor; draws and writes the report, unless --noanalysis.
    """
    if options.evaluates:
        check_installed(options.export.packages())
    options = with_config_of_run(options)
    task = task_of(options.model)
    check_compression(options.compression, task.name)
    check_trackers(options.tracking)
    process_group = strategy.init_process_group(options.hardware.strategy)
    if not process_group.is_chief:
        # The chief prepares what all processes read.
        process_group.barrier()
    with start_or_resume_run(
        task, options, read, hparams, is_chief=process_group.is_chief, is_alone=process_group.count == 1
    ) as run_:
        options, hparams = run_.options, run_.hparams
        if run_.is_finished:
            process_group.barrier()
            finalize.log_finished_run(run_.folder, options)
            if process_group.is_chief:
                _publish(options, run_.folder)
            return run_.folder
        start = _initial_weights(task, options, run_, process_group)
        check_start(options.compression, start)
        shards = find_shards(options, run_.folder, run_.identity, run_.image_size, hparams)
        own = _with_recipe(run_, read, start, shards)
        options, hparams = own.options, own.hparams
        setup = task.setup(run_.model_name, options, hparams, shards)
        options = auto_batch.resolve_batch_size(options, run_, shards, setup.network, process_group)
        setup = setup.with_options(options)
        run_config = build_run_config(options, shards)
        setup.prepare_evaluation(is_chief=process_group.is_chief)
        if process_group.is_chief:
            compare_validation(run_.folder, shards, is_begun=run_.is_resumed)
            if report is not None and options.doctor and not run_.is_resumed:
                report.check_data(options, shards, setup.network)
            num_examples = run_config.steps_per_epoch * run_config.batch_size
            about = metadata.training_metadata(
                options, name=run_.model_name, num_examples=num_examples, shape=run_.shape
            )
            metadata.update_json(run_.folder.metadata, {**about, NAMES_IN_SHARDS: shards.recorded_names})
            process_group.barrier()
        report = report if options.evaluation.analysis and process_group.is_chief else None
        with auto_batch.oom_handler(options, shards, setup.network, process_group):
            network, evaluator, after_loading = _train(options, run_, start, setup, run_config, process_group, report)
        if process_group.is_chief:
            finalize.finalize_run(
                options, run_.folder, setup, network, evaluator, report=report, after_loading=after_loading
            )
            metadata.update_json(run_.folder.metadata, finished_with(options))
            _publish(options, run_.folder)
        return run_.folder


def _publish(options: TrainOptions, folder: RunFolder) -> None:
    if options.publish_dir and options.evaluates and folder.export_path.is_dir():
        publish_export(folder.export_path, Path(options.publish_dir))


def _initial_weights(
    task: Task, options: TrainOptions, run_: RunSession, process_group: ProcessGroup
) -> StartWeights | None:
    """Returns the initial weights of a new run, as the chief chose them; None for a run resumed from its checkpoint."""
    if run_.is_resumed:
        return None
    if not process_group.is_chief:
        return task.chosen_by_chief(options, run_.model_name, metadata.read_json(run_.folder.metadata))
    start = task.check_pretrained(options, run_.model_name)
    metadata.update_json(run_.folder.metadata, choice_metadata(start))
    return start


def _with_recipe(run_: RunSession, read: Sources, start: StartWeights | None, shards: Shards) -> RunSession:
    """Returns the run with the options of its recipe, which is chosen here for a new run."""
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


def _train(
    options: TrainOptions,
    run_: RunSession,
    start: StartWeights | None,
    setup: TaskSetup,
    run_config: RunConfig,
    process_group: ProcessGroup,
    report: Report | None,
) -> tuple[keras.Model, TaskEvaluator | None, Sequence[Callable[[Path], None]]]:
    objective = setup.objective()
    with strategy.build_strategy(options).scope():
        network = setup.build_model()
        if start is not None:
            loaded = setup.load_pretrained(network, start)
            if process_group.is_chief:
                metadata.update_json(run_.folder.metadata, loaded)
        model = build_training_model(network, objective, options, steps_per_epoch=run_config.steps_per_epoch)
    if process_group.count > 1:
        model.callbacks.append(StopSync(process_group))
    evaluator = setup.evaluator(model.evaluated)
    cache = run_.folder.path / (f"cache-{process_group.index}" if process_group.index else "cache")
    with (
        setup.open_input(
            num_epochs=run_config.num_epochs,
            steps_per_epoch=run_config.steps_per_epoch,
            cache=cache,
            host=(process_group.index, process_group.count),
        ) as batches,
        process_group.training(),
    ):
        trackers = (
            Trackers(options.tracking, run_.folder, primary=setup.layout.primary) if process_group.is_chief else None
        )
        validation_loss = (
            _validation_loss(options, model.evaluated, objective, batches) if evaluator is not None else None
        )
        layout = setup.layout
        if validation_loss is not None:
            layout = with_validation_loss(layout, objective.loss_names)
        tensorboard = Path(options.tracking.tensorboard_dir) if options.tracking.tensorboard_dir else None
        checkpoint_callback = build_checkpoint_callback(
            run_config, run_.folder, setup, evaluator, batches, layout, tensorboard=tensorboard
        )
        checkpoint_callback.validation_loss = validation_loss
        checkpoint_callback.track = trackers.log if trackers is not None else None
        bar = is_terminal() and process_group.is_chief
        if not run_.is_resumed:
            draw_training_data(report, run_.folder, batches, setup.network.label_map)
        try:
            train(model, batches.batches_from, run_config, checkpoint_callback, bar=bar)
        finally:
            if trackers is not None:
                trackers.close()
    if process_group.count > 1:
        strategy.destroy_process_group()
        # One process cannot assign variables that are on several; the chief continues with its own model.
        network = setup.build_model()
        evaluator = setup.evaluator(network)
    return network, evaluator, model.after_loading

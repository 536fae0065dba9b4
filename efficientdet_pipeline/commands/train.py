"""--mode=train and --mode=traineval: photos in, detector out. It introduces the rooms to each other."""

from typing import Any

import efficientdet
import keras
from absl import logging

from efficientdet_pipeline.commands import finishing, metadata, photos
from efficientdet_pipeline.commands.beginning import Beginning, begin, finished_key
from efficientdet_pipeline.commands.network import Network, describe, load_pretrained
from efficientdet_pipeline.commands.scoring import Scorer
from efficientdet_pipeline.commands.shards import Shards, find_shards
from efficientdet_pipeline.commands.variation import variation
from efficientdet_pipeline.console import is_terminal
from efficientdet_pipeline.data.batches import TrainingStream, training_batches
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.evaluation import format_table
from efficientdet_pipeline.options.hparams import network_overrides
from efficientdet_pipeline.options.reader import Sources
from efficientdet_pipeline.runs import records
from efficientdet_pipeline.training import devices
from efficientdet_pipeline.training.fit import build_training_model, train
from efficientdet_pipeline.training.keeper import Keeper, Places, Plan

EVALUATIONS_A_RUN = 10


def run(options: Any, read: Sources, hparams: Any) -> None:
    """Trains the run that the options describe, from where it is to its end."""
    with begin(options, read, hparams) as run_:
        if run_.finished:
            finishing.say_finished(run_.folder, options)
            return
        shards = find_shards(options, run_.folder, run_.identity, run_.image_size, hparams)
        network = describe(
            run_.model_name,
            {"num_classes": shards.num_classes, **network_overrides(options, hparams)},
            shards.label_map,
        )
        _check_classes(network, shards)
        plan = _plan(options, shards)
        about = metadata.of_training(
            options, name=run_.model_name, num_examples=plan.steps_per_epoch * plan.batch_size, shape=run_.shape
        )
        records.update_json(run_.folder.metadata, about)
        detector, scorer = _train(options, run_, network, shards, plan)
        finishing.finish(options, run_.folder, network, shards, detector, scorer)
        records.update_json(run_.folder.metadata, {finished_key(options.mode): options.num_epochs})


def _plan(options: Any, shards: Shards) -> Plan:
    """Returns the shape of the run; refuses a batch that the data cannot fill."""
    examples = options.num_examples_per_epoch or shards.num_train
    if options.batch_size > shards.num_train or options.batch_size > examples:
        raise OptionsError(
            f"batch_size must not be larger than the training data. Received batch_size={options.batch_size} with "
            f"{min(examples, shards.num_train)} photos an epoch; try --batch_size={min(examples, shards.num_train)}.",
            option="batch_size",
        )
    plan = Plan(
        num_epochs=options.num_epochs,
        steps_per_epoch=examples // options.batch_size,
        batch_size=options.batch_size,
        evaluate_every=options.map_freq or max(1, round(options.num_epochs / EVALUATIONS_A_RUN)),
    )
    logging.info(
        "Training %d epochs of %d steps, %d photos a step.", plan.num_epochs, plan.steps_per_epoch, plan.batch_size
    )
    return plan


def _check_classes(network: Network, shards: Shards) -> None:
    if list(network.config.heads) != ["object_detection"]:
        raise OptionsError(
            "heads must be object_detection alone to be trained here: the shards hold no masks for another head. "
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
            "num_classes is %d and the largest label id %d: the background needs no class of its own here, so that one "
            "class will never be seen.",
            given,
            shards.num_classes,
        )


def _train(
    options: Any, run_: Beginning, network: Network, shards: Shards, plan: Plan
) -> tuple[keras.Model, Scorer | None]:
    config, folder = network.config, run_.folder
    strategy = devices.set_up(options)
    with strategy.scope():
        detector = efficientdet.build_model(config)
        if not run_.begun:
            load_pretrained(detector, options, run_.model_name, photos.cache_folder(options.cache_dir))
        model = build_training_model(detector, config, options, steps_per_epoch=plan.steps_per_epoch)
    scorer = None
    if options.mode == "traineval":
        scorer = Scorer(
            detector,
            config,
            shards.val,
            label_map=network.label_map,
            batch_size=options.batch_size,
            limit=options.eval_samples,
            truth_json=options.val_json_file,
        )
    keeper = Keeper(
        plan,
        Places(last=folder.last, best=folder.best, results=folder.results, tensorboard=folder.tensorboard),
        evaluate=_scored(scorer) if scorer else None,
        write_network=network.write,
        profile=options.profile,
    )
    stream = TrainingStream(
        files=shards.train,
        num_records=shards.num_train,
        batch_size=options.batch_size,
        max_instances=shards.max_instances,
        canvas=config.image_size,
        seed=options.tf_random_seed,
        skip_crowd=options.skip_crowd_during_training,
        repeat_first_batch=options.use_fake_data,
    )
    vary = variation(options, config)
    bar = is_terminal()
    train(model, lambda position: training_batches(stream, vary, position=position), plan, keeper, bar=bar)
    return detector, scorer


def _scored(scorer: Scorer) -> Any:
    def evaluate(epoch: int) -> dict[str, Any]:
        metrics = scorer()
        logging.info("epoch %d, validation:\n%s", epoch, format_table(metrics))
        return metrics

    return evaluate

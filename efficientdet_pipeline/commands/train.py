"""--mode=train and --mode=traineval: photos in, detector out. It introduces the rooms to each other."""

import dataclasses
from typing import Any

import efficientdet
import keras
from absl import logging

from efficientdet_pipeline.commands import batch_size, checkup, finishing, keeping, loading, metadata
from efficientdet_pipeline.commands.announcement import advise_on_random_weights
from efficientdet_pipeline.commands.beginning import Beginning, begin, finished_with
from efficientdet_pipeline.commands.class_weights import class_weights
from efficientdet_pipeline.commands.ground_truth import GroundTruth, validation_truth
from efficientdet_pipeline.commands.network import Network, describe
from efficientdet_pipeline.commands.pretrained import check_pretrained, load_pretrained
from efficientdet_pipeline.commands.scoring import Scorer
from efficientdet_pipeline.commands.shards import NAMES_IN_SHARDS, Shards, compare_validation, find_shards
from efficientdet_pipeline.commands.variation import variation
from efficientdet_pipeline.console import is_terminal
from efficientdet_pipeline.data.batches import training_batches
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.hparams import network_overrides
from efficientdet_pipeline.options.reader import Sources
from efficientdet_pipeline.runs import records
from efficientdet_pipeline.training import devices
from efficientdet_pipeline.training.agreement import Agreement
from efficientdet_pipeline.training.building import build_training_model
from efficientdet_pipeline.training.company import Company
from efficientdet_pipeline.training.fit import train
from efficientdet_pipeline.training.plan import Plan


def run(options: Any, read: Sources, hparams: Any) -> None:
    """Trains the run that the options describe, from where it is to its end."""
    company = devices.join(options)
    if not company.is_chief:
        # The leading process prepares what all read.
        company.ready()
    with begin(options, read, hparams, is_chief=company.is_chief) as run_:
        if run_.finished:
            company.ready()
            finishing.say_finished(run_.folder, options)
            return
        if company.is_chief and not run_.begun:
            check_pretrained(options, run_.model_name)
        shards = find_shards(options, run_.folder, run_.identity, run_.image_size, hparams)
        network = describe(
            run_.model_name,
            {"num_classes": shards.num_classes, **network_overrides(options, hparams)},
            shards.label_map,
        )
        _check_classes(network, shards)
        options = batch_size.settled(options, run_, shards, network.config, company)
        plan = keeping.plan_of(options, shards)
        truth = validation_truth(options, network, shards, is_chief=company.is_chief)
        if company.is_chief:
            compare_validation(run_.folder, shards, is_begun=run_.begun)
            if options.doctor and not run_.begun:
                checkup.look_quickly(options, shards, network.config)
            num_examples = plan.steps_per_epoch * plan.batch_size
            about = metadata.of_training(options, name=run_.model_name, num_examples=num_examples, shape=run_.shape)
            records.update_json(run_.folder.metadata, {**about, NAMES_IN_SHARDS: shards.recorded_names})
            company.ready()
        with batch_size.told_if_too_large(options, shards, network.config, company):
            detector, scorer = _train(options, run_, network, shards, truth, plan, company)
        if company.is_chief:
            finishing.finish(options, run_.folder, network, detector, scorer)
            records.update_json(run_.folder.metadata, finished_with(options))


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
    options: Any,
    run_: Beginning,
    network: Network,
    shards: Shards,
    truth: GroundTruth | None,
    plan: Plan,
    company: Company,
) -> tuple[keras.Model, Scorer | None]:
    config = network.config
    weights = class_weights(options.class_weights, shards, config.num_classes)
    with devices.set_up(options).scope():
        detector = efficientdet.build_model(config)
        if not run_.begun:
            loaded = load_pretrained(detector, options, run_.model_name)
            if company.is_chief:
                records.update_json(run_.folder.metadata, loaded)
                if loaded["pretrained"] is None:
                    advise_on_random_weights(options, plan.num_steps)
        model = build_training_model(
            detector, config, options, steps_per_epoch=plan.steps_per_epoch, class_weights=weights
        )
    if company.count > 1:
        model.callbacks.append(Agreement(company))
    scorer = _scorer(options, detector, network, truth)
    ends = loading.mixing_ends(
        options, num_epochs=plan.num_epochs, samples_per_epoch=plan.steps_per_epoch * plan.batch_size
    )
    vary = variation(options, config, mixing_ends=ends)
    cache = run_.folder.path / (f"cache-{company.index}" if company.index else "cache")
    with loading.training_stream(options, shards, config.image_size, cache) as whole, company.training():
        stream = dataclasses.replace(whole, num_hosts=company.count, host_index=company.index)
        keeper = keeping.keeper_of(plan, run_.folder, network, scorer, whole, vary.num_partners)
        bar = is_terminal() and company.is_chief
        train(model, lambda position: training_batches(stream, vary, position=position), plan, keeper, bar=bar)
    if company.count > 1:
        devices.part()
        # Variables that lie on all processes can be assigned by all together only; what is left, the chief does alone.
        detector = efficientdet.build_model(config)
        scorer = _scorer(options, detector, network, truth)
    return detector, scorer


def _scorer(options: Any, detector: keras.Model, network: Network, truth: GroundTruth | None) -> Scorer | None:
    if truth is None:
        return None
    return Scorer(
        detector,
        network.config,
        truth,
        label_map=network.label_map,
        batch_size=options.batch_size,
        limit=options.eval_samples,
    )

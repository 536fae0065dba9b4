"""--mode=dataset: conversion of images to shards, the first step of a training."""

from absl import logging

from efficientdet_pipeline.console import log_to_file, print_next_command
from efficientdet_pipeline.data.conversion import make_shards
from efficientdet_pipeline.data.prepare import data_identity
from efficientdet_pipeline.options.convert import ConvertOptions
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.parser import Sources
from efficientdet_pipeline.runs import metadata
from efficientdet_pipeline.runs.metadata import log_options, sources_of, update_json, write_args
from efficientdet_pipeline.runs.ownership import held
from efficientdet_pipeline.runs.run_dir import run_folder
from tfrmod.manifest import Manifest


def run(options: ConvertOptions, read: Sources, hparams: HparamsGiven) -> None:
    """Converts the images that the options name."""
    if options.prefix:
        from efficientdet_pipeline.data import automl_converters

        automl_converters.run(options, read, hparams)
        return
    made = convert_images(options, read, hparams)
    if "train" in made.splits:  # Unlabelled images have no training split.
        shards = [f"--train_file_pattern={made.pattern('train')}"]
        shards.append(f"--val_file_pattern={made.pattern('val')}" if "val" in made.splits else "--mode=train")
        task = [] if options.task_name == "detection" else [f"--task={options.task_name}"]
        print_next_command(*task, *shards)


def convert_images(options: ConvertOptions, read: Sources, hparams: HparamsGiven) -> Manifest:
    """Converts the images that the options name to shards, and returns their manifest."""
    identity = data_identity(options.data.images, options.run.workspace)
    folder = run_folder(
        options.run,
        f"dataset-{identity[:8]}",
        output_path=options.data.conversion.output_path,
        path_metadata=options.data.conversion.path_metadata,
    )
    with held(folder, overwrite=options.data.conversion.overwrite):
        log_to_file(folder.log)
        log_options(folder.path, options, read, hparams)
        write_args(folder.args, options, sources_of(read, hparams))
        made = make_shards(
            options.data,
            folder.records_path,
            identity,
            seed=options.seed.tf_random_seed,
            label_map=hparams.label_map,
            task=options.task_name,
        )
        logging.info("Shards and manifest are in %s", folder.records_path)
        update_json(folder.metadata, metadata.dataset_metadata(options.data.images, made, mode=options.general.mode))
    return made

"""Benchmark of a training (`--what=train`): loader, step and training for several batch sizes."""

import dataclasses
import gc
import json
from pathlib import Path
from typing import Any

import efficientdet
import keras
from absl import logging
from efficientdet.any_detector import AnyDetectorConfig

from efficientdet_pipeline.benchmarking import bottleneck, machine, measuring, report
from efficientdet_pipeline.benchmarking.bottleneck import LOADER, STEP, TOGETHER, Speeds
from efficientdet_pipeline.data.class_weights import class_weights
from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.data.input_pipeline import InputConfig, build_augmenter, open_input_config, training_batches
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.models.build import Network
from efficientdet_pipeline.models.objective import detection_objective
from efficientdet_pipeline.options.benchmark import BenchmarkOptions
from efficientdet_pipeline.options.schema import flatten
from efficientdet_pipeline.options.schema import replace as replace_options
from efficientdet_pipeline.runs.output_files import check_output_json
from efficientdet_pipeline.system import free_memory, is_out_of_memory
from efficientdet_pipeline.training import device_memory, strategy
from efficientdet_pipeline.training.build import build_training_model
from tfrmod import fileio


def benchmark_training(options: BenchmarkOptions, shards: Shards, network: Network, folder: Path) -> dict[str, Any]:
    """Returns, prints and draws the three speeds of each batch size, the bottleneck, and the flags that reduce it."""
    if options.training.hardware.strategy in {"tpu", "multiworker"}:
        raise OptionsError(
            f"what=train measures a single process. Received "
            f"strategy={options.training.hardware.strategy}; leave it out, or use --strategy=gpus.",
            option="strategy",
        )
    path = Path(options.output or Path(options.training.run.workspace) / "benchmark-train.json")
    if path.suffix == ".png":
        raise OptionsError(
            f"output must name the JSON file; the plot is written next to it as .png. Received {options.output}; try "
            f"{path.with_suffix('.json')}.",
            option="output",
        )
    plot = path.with_suffix(".png")
    check_output_json(path, {"sweep", "conclusion"}, option="output" if options.output else "workspace")
    if plot.exists() and not path.exists():
        raise OptionsError(
            f"output must name a JSON file whose plot, of the same name as .png, does not exist yet. Received {path}, "
            f"beside {plot.name}, which is not from a benchmark; try another --output.",
            option="output",
        )
    config = network.config
    weights = class_weights(options.training.optimizer.class_weights, shards, config.num_classes)
    with open_input_config(options.training, shards, config.image_size, folder / "cache") as stream:
        sweep, ended = _sweep(options, config, stream, weights)
    about = {"machine": machine.description(), "settings": _settings(options, network, shards)}
    conclusion = bottleneck.advice(sweep, options.training, about["machine"])
    figures = report.figures(sweep, ended=ended, conclusion=conclusion, about=about)
    height, width = config.image_size
    title = f"{config.name}, {width}x{height}, {about['machine']['backend']}, {about['machine']['devices'][0]}"
    print(f"{title}; images per second:\n{report.table(sweep)}")
    for line in (ended, *conclusion):
        if line:
            print(line)
    if not options.output:
        fileio.write_file(path, json.dumps(figures, indent=2) + "\n")
    report.draw(plot, sweep, title=title, conclusion=" ".join(conclusion[:2]))
    logging.info("Written: %s and %s.", path, plot.name)
    return figures


def _sweep(
    options: BenchmarkOptions, config: AnyDetectorConfig, stream: InputConfig, weights: tuple[float, ...]
) -> tuple[list[Speeds], str]:
    """Returns the speeds of the batch sizes that fit, and the reason for stopping before the last size."""
    sweep: list[Speeds] = []
    base = machine.host_bytes() or 0
    for size in options.measured_batch_sizes():
        if ended := _foreseen(sweep, size, base):
            return sweep, ended
        logging.info("Measuring batches of %d.", size)
        try:
            sweep.append(_speeds(replace_options(options, batch_size=size), config, stream, weights))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            logging.debug("%s", error)
            if not sweep:
                raise OptionsError(
                    f"The smallest batch must fit in memory. Received {size} images, which do not fit; try a smaller "
                    "--batch_sizes, --grad_checkpoint or a smaller --image_size.",
                    option="batch_sizes",
                ) from None
            return sweep, f"A batch of {size} does not fit in memory: the sweep stops there."
        gc.collect()
    return sweep, ""


def _foreseen(sweep: list[Speeds], size: int, base: int) -> str:
    """Returns why a batch would not fit in host memory, where the system would kill the process without a message."""
    last = sweep[-1].host_bytes if sweep else None
    if last is None or sweep[-1].device_bytes is not None:
        return ""
    needed = base + (last - base) * size / sweep[-1].batch_size
    free = free_memory() + (machine.host_bytes() or 0)
    if needed <= free:
        return ""
    return (
        f"A batch of {size} would need about {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free: the "
        "sweep stops there."
    )


def _speeds(
    options: BenchmarkOptions, config: AnyDetectorConfig, stream: InputConfig, weights: tuple[float, ...]
) -> Speeds:
    """Returns the three speeds of one batch size."""
    training = options.training
    size = training.optimizer.batch_size
    keras.backend.clear_session()
    machine.reset_peak_memory()
    with strategy.build_strategy(training).scope():
        model = build_training_model(
            efficientdet.build_model(config),
            detection_objective(config, training.optimizer, class_weights=weights),
            training,
            steps_per_epoch=training.hardware.steps_per_execution,
        )
    augmenter = build_augmenter(training.augmentation, config)
    batches = training_batches(dataclasses.replace(stream, batch_size=size), augmenter)
    batch = measuring.synthetic_batch(
        size, config.image_size, max_instances=stream.max_instances, num_classes=config.num_classes
    )
    parts = {
        LOADER: measuring.time_loader(batches),
        STEP: measuring.time_step(model, batch),
        TOGETHER: measuring.time_training(model, batches),
    }
    rates = measuring.rates(parts, batch_size=size, rounds=options.num_rounds, seconds=options.benchmark_seconds)
    return Speeds(batch_size=size, **rates, host_bytes=machine.peak_bytes(), device_bytes=device_memory.gpu_bytes())


def _settings(options: BenchmarkOptions, network: Network, shards: Shards) -> dict[str, Any]:
    settings = {name: value for name, value in flatten(options).items() if name not in {"output"}}
    canvas = "{1}x{0}".format(*network.config.image_size)
    return {**settings, "model_name": network.config.name, "image_size": canvas, "num_photos": shards.num_train}

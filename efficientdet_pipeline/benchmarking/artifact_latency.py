"""Latency of a trained detector: its checkpoint and every artifact of its export, interleaved in one process."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import efficientdet
import keras
import numpy as np
import tensorflow as tf
from absl import logging
from efficientdet.any_detector import AnyDetectorConfig

from efficientdet_pipeline.benchmarking import machine
from efficientdet_pipeline.benchmarking.latency import Candidate, Plan, draw, measure_latency, table
from efficientdet_pipeline.console import say
from efficientdet_pipeline.errors import MissingError, MissingExtraError
from efficientdet_pipeline.export.formats import FORMATS, TENSORFLOW_FORMATS, ExportFormat
from efficientdet_pipeline.inference.artifacts import load_artifact
from efficientdet_pipeline.inference.canvas import normalized
from efficientdet_pipeline.inference.detector import limit_threads
from efficientdet_pipeline.inference.predictor import SAVED_MODEL, GraphPredictor, Predictor, model_predictor
from efficientdet_pipeline.inference.raw_heads import RawHeadsPredictor
from efficientdet_pipeline.inference.tflite_loader import PostProcessedPredictor
from efficientdet_pipeline.models.build import read_network
from efficientdet_pipeline.models.description import config_beside
from efficientdet_pipeline.models.weights import DESCRIPTION, load_trained, trained_weights
from efficientdet_pipeline.options.benchmark import BenchmarkOptions
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.infer import NETWORK_SUFFIXES


def benchmark_latency(options: BenchmarkOptions, hparams: HparamsGiven) -> dict[str, Any]:
    """Returns the measured latencies, with plan and machine, as a JSON object; prints the table.

    Raises:
      MissingError: there is no checkpoint or artifact.
    """
    threads = options.latency.threads()
    if len(threads) == 1:
        limit_threads(threads[0])
    subject = _subject(options, hparams, threads)
    plan = Plan(
        image_size=options.latency.image_size,
        canvas=subject.canvas,
        batch_sizes=options.measured_batch_sizes(),
        warmup=options.latency.warmup,
        rounds=options.num_rounds,
    )
    logging.info(
        "%s, canvas %dx%d, images %s, %d interleaved rounds; milliseconds per batch:",
        subject.name,
        *reversed(subject.canvas),
        options.latency.latency_image,
        plan.rounds,
    )
    found = measure_latency(subject.candidates, plan)
    say(table(found))
    if options.output:
        picture = Path(options.output).with_suffix(".png")
        draw(picture, found, title=f"{subject.name}, {options.latency.latency_image} px images, on {_device()}")
        logging.info("Written to %s and %s", options.output, picture)
    return {
        "unit": "milliseconds per batch",
        "latencies": [asdict(each) for each in found],
        "plan": asdict(plan),
        "machine": machine.description(),
    }


def _device() -> str:
    return ", ".join(map(str, machine.description()["devices"]))


class _Subject(NamedTuple):
    """What is measured."""

    name: str
    canvas: tuple[int, int]
    """Height and width of the input of the networks that are measured alone."""
    candidates: list[Candidate]


def _subject(options: BenchmarkOptions, hparams: HparamsGiven, threads: Sequence[int]) -> _Subject:
    """Returns the checkpoint and artifacts to measure."""
    paths = [Path(each.strip()).expanduser() for each in options.latency.artifacts.split(",") if each.strip()]
    if len(paths) > 1 or any(path.is_file() or (path / SAVED_MODEL).is_file() for path in paths):
        return _of_paths(paths, threads)
    if paths:
        folder = paths[0]
        config = config_beside(folder / DESCRIPTION)
        if config is None:
            raise MissingError(
                f"The folder {folder} is not an export: it has no {DESCRIPTION}. Check --artifacts, or name the "
                "artifacts themselves, such as out/a.tflite,out/saved_model."
            )
        candidates = list(_of_folder(folder, config, threads))
        if not candidates:
            raise MissingError(f"The folder {folder} has no artifact of {config.name}. Check --artifacts.")
        return _Subject(config.name, config.image_size, candidates)
    trained = trained_weights(options.latency.checkpoint, options.training.run)
    network = read_network(trained.description, options.training.model, hparams)
    detector = efficientdet.build_model(network.config)
    load_trained(detector, trained.path)
    own = _only(threads)
    checkpoint = Candidate(
        name="checkpoint",
        predictor=model_predictor(detector, network.config),
        run_network=_network_of(detector, network.config),
        threads=own,
    )
    if trained.run is None or not trained.run.export_path.is_dir():
        return _Subject(network.config.name, network.config.image_size, [checkpoint])
    exported = _of_folder(trained.run.export_path, network.config, threads)
    return _Subject(network.config.name, network.config.image_size, [checkpoint, *exported])


def _of_paths(paths: Sequence[Path], threads: Sequence[int]) -> _Subject:
    """Returns single artifacts, also those of google/automl without a description beside them.

    Networks are measured alone where they have the canvas of the first one that is known.
    """
    canvas: tuple[int, int] | None = None
    found: list[Candidate] = []
    for path in paths:
        if not path.exists():
            raise MissingError(f"The artifact {path} does not exist. Check --artifacts.")
        config = config_beside(path)
        is_network = path.suffix.lower() in NETWORK_SUFFIXES
        counts: Sequence[int | None] = (threads or [None]) if is_network else [_only(threads)]
        for count in counts:
            predictor = load_artifact(path, num_threads=count)
            own = _canvas_of(predictor, config)
            canvas = canvas or own
            run = _network_in(predictor, config) if own is not None and own == canvas else None
            name = f"{path.parent.name}/{path.name}"
            found.append(Candidate(name=name, predictor=predictor, run_network=run, threads=count))
    return _Subject(f"{len(paths)} artifacts", canvas or Plan.canvas, found)


def _canvas_of(predictor: Predictor, config: AnyDetectorConfig | None) -> tuple[int, int] | None:
    if isinstance(predictor, PostProcessedPredictor):
        return predictor.canvas
    return None if config is None else config.image_size


def _of_folder(folder: Path, config: AnyDetectorConfig, threads: Sequence[int]) -> Iterable[Candidate]:
    """Yields each artifact of an export, once for each number of threads that its runtime supports."""
    for each in FORMATS.values():
        path = each.path(folder, config)
        if each.load is None or not path.exists():
            continue
        counts: Sequence[int | None] = [_only(threads)] if each.name in TENSORFLOW_FORMATS else (threads or [None])
        if each.name in TENSORFLOW_FORMATS and len(threads) > 1:
            logging.info(
                "%s is measured with TensorFlow's default number of threads, which is fixed per process.", each.name
            )
        for count in counts:
            try:
                yield _candidate(each, path, config, count)
            except MissingExtraError as error:
                logging.warning("%s is not measured. %s", each.name, error)
                break


def _candidate(each: ExportFormat, path: Path, config: AnyDetectorConfig, threads: int | None) -> Candidate:
    predictor = load_artifact(path, config, num_threads=threads)
    return Candidate(name=each.name, predictor=predictor, run_network=_network_in(predictor, config), threads=threads)


def _network_in(predictor: Predictor, config: AnyDetectorConfig | None) -> Callable[[np.ndarray], object] | None:
    """Returns the network of a predictor from pixel canvases to raw outputs; None if it cannot run alone."""
    if isinstance(predictor, RawHeadsPredictor | PostProcessedPredictor):
        return predictor.run_network
    if isinstance(predictor, GraphPredictor) and predictor.network is not None and config is not None:
        return _with_pixels(predictor.network, config)
    return None


def _with_pixels(network: Callable[[tf.Tensor], object], config: AnyDetectorConfig) -> Callable[[np.ndarray], object]:
    spec = tf.TensorSpec((None, *config.image_size, 3), tf.float32)
    function = tf.function(lambda canvases: network(normalized(canvases, config)), input_signature=[spec])
    return lambda canvases: tf.nest.map_structure(np.asarray, function(tf.constant(canvases)))


def _network_of(model: keras.Model, config: AnyDetectorConfig) -> Callable[[np.ndarray], object]:
    return _with_pixels(partial(model, training=False), config)


def _only(threads: Sequence[int]) -> int | None:
    return threads[0] if len(threads) == 1 else None

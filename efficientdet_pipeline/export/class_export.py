"""The export at the end of a segmentation's or classification's training, and the facts of its model card."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import keras

from efficientdet_pipeline.export.class_bundle import write_class_bundle
from efficientdet_pipeline.export.class_card import METRICS
from efficientdet_pipeline.export.class_formats import CLASS_FORMATS, TrainedClassNetwork, class_formats_of
from efficientdet_pipeline.export.from_run import calibration_images, model_facts
from efficientdet_pipeline.export.in_subprocess import export_by_tensorflow, log_unmeasured
from efficientdet_pipeline.export.model_card import ModelFacts
from efficientdet_pipeline.inference.extras import log_left_out
from efficientdet_pipeline.models.class_networks import ClassNetwork
from efficientdet_pipeline.models.weights import TrainedWeights
from efficientdet_pipeline.options.export import FormatOptions


def export_trained_class_network(
    model: keras.Model, network: ClassNetwork, weights: TrainedWeights, folder: Path, options: FormatOptions
) -> Mapping[str, Path]:
    """Writes a network that holds the weights of a run's checkpoint, and returns {format: path}.

    Raises:
      OptionsError: a format of detectors alone.
      DataError: a file does not compute what the network computes, or the process that exports for JAX failed.
    """
    formats = class_formats_of(options, network.task)
    log_left_out(options.left_out(CLASS_FORMATS))
    log_unmeasured([each.name for each in formats], weights)
    if keras.backend.backend() != "tensorflow":
        export_by_tensorflow(weights, folder, options)
        return {each.name: each.path(folder, network) for each in formats}
    is_quantized = any(each.precision == "int8" for each in formats)
    images = calibration_images(weights.run, options.calibration_images) if is_quantized else ()
    trained = TrainedClassNetwork(model=model, network=network, calibration=images)
    facts = class_facts(weights, network)
    exported = write_class_bundle(trained, folder, formats, facts=facts)
    exported.check_complete()
    return exported.artifacts


def class_facts(
    weights: TrainedWeights, network: ClassNetwork, *, intended_use: str = "", license: str = ""
) -> ModelFacts:
    """Returns the model card's facts on data, accuracy and initial weights of a run."""
    facts = model_facts(weights, network.label_map, None, metrics=METRICS[network.task])
    return dataclasses.replace(facts, intended_use=intended_use, license=license)

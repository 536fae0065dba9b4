"""The export at the end of a segmentation's or classification's training."""

from collections.abc import Mapping
from pathlib import Path

import keras

from efficientdet_pipeline.export.class_bundle import write_class_bundle
from efficientdet_pipeline.export.class_formats import TrainedClassNetwork, class_formats_of
from efficientdet_pipeline.export.from_run import calibration_images
from efficientdet_pipeline.export.in_subprocess import export_by_tensorflow
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
    if keras.backend.backend() != "tensorflow":
        export_by_tensorflow(weights, folder, options)
        return {each.name: each.path(folder, network) for each in formats}
    is_quantized = any(each.precision == "int8" for each in formats)
    images = calibration_images(weights.run, options.calibration_images) if is_quantized else ()
    trained = TrainedClassNetwork(model=model, network=network, calibration=images)
    return write_class_bundle(trained, folder, formats).artifacts

"""Version folder for TensorFlow Serving: a SavedModel with warm-up requests."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import logging

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.export.saved_model import write_saved_model
from efficientdet_pipeline.export.serving import ServedDetector
from efficientdet_pipeline.export.trained_detector import TrainedDetector
from tfrmod.tfrecord_io import write_records

WARMUP = Path("assets.extra") / "tf_serving_warmup_requests"
_NUM_WARMUP = 4
_MAX_WARMUP = 1000
"""TensorFlow Serving rejects more."""


def write_version_folder(
    detector: TrainedDetector,
    model_folder: Path,
    *,
    version: int,
    warmup: Sequence[bytes] = (),
    batch_size: int | None = None,
) -> Path:
    """Writes `<model_folder>/<version>`, the layout of TensorFlow Serving, and returns it.

    Args:
      model_folder: folder of the served model, for example serving/cells.
      version: an integer; the server loads the largest one.
      warmup: encoded images, run by the server before it reports that the model is ready.
      batch_size: fixed number of images, if any.

    Raises:
      OptionsError: the version exists or is not positive, or there are too many images.
    """
    folder = model_folder / str(version)
    if version < 1 or folder.exists():
        raise OptionsError(
            f"The version of a served model must be a positive integer that does not exist in {model_folder}. Received "
            f"{version}; try {next_version(model_folder)}."
        )
    if len(warmup) > _MAX_WARMUP:
        raise OptionsError(
            f"TensorFlow Serving accepts at most {_MAX_WARMUP} warm-up requests. Received {len(warmup)}."
        )
    staged = model_folder / f".{version}.partial"
    served = ServedDetector(detector.network, detector.config, mode=detector.mode, batch_size=batch_size)
    write_saved_model(served, staged)
    if warmup:
        (staged / WARMUP).parent.mkdir()
        requests = [prediction_log(model_folder.name, "serving_bytes", {"image_bytes": [image]}) for image in warmup]
        write_records(staged / WARMUP, requests)
    # A server that watches the folder loads numeric names: the folder is renamed when it is complete.
    staged.rename(folder)
    return folder


def write_next_version(detector: TrainedDetector, model_folder: Path, *, batch_size: int | None = None) -> Path:
    """Writes the next version and returns its folder; calibration images are the warm-up requests."""
    warmup = [tf.io.encode_jpeg(image).numpy() for image in detector.calibration[:_NUM_WARMUP]]
    if not warmup:
        height, width = detector.config.image_size
        warmup = [tf.io.encode_jpeg(tf.zeros((height, width, 3), tf.uint8)).numpy()]
    model_folder.mkdir(parents=True, exist_ok=True)
    version = next_version(model_folder)
    folder = write_version_folder(detector, model_folder, version=version, warmup=warmup, batch_size=batch_size)
    logging.info("%-16s  %s", "TF Serving", folder)
    return folder


def next_version(model_folder: Path) -> int:
    """Returns the number after the largest version in a folder; 1 if there is none."""
    versions = [int(each.name) for each in model_folder.glob("*") if each.name.isdecimal()]
    return max(versions, default=0) + 1


def prediction_log(model: str, signature: str, inputs: Mapping[str, Sequence[bytes]]) -> bytes:
    """Returns a serialized PredictionLog with one Predict request of TensorFlow Serving.

    The few fields are encoded here, because the package of these messages
    includes the interface of a whole server: PredictionLog.predict_log = 6,
    PredictLog.request = 1, PredictRequest.model_spec = 1 and inputs = 2,
    ModelSpec.name = 1 and signature_name = 3, and a map entry's key = 1 and value = 2.

    Args:
      model: name of the served model.
      signature: of the SavedModel.
      inputs: name to encoded images.
    """
    spec = _message(1, model.encode()) + _message(3, signature.encode())
    request = _message(1, spec)
    for name, values in inputs.items():
        tensor = tf.make_tensor_proto(np.array(list(values), dtype=object), dtype=tf.string, shape=[len(values)])
        request += _message(2, _message(1, name.encode()) + _message(2, tensor.SerializeToString()))
    return _message(6, _message(1, request))


def _message(number: int, content: bytes) -> bytes:
    """Returns a length-delimited protocol buffer field: text, bytes or a message."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])

"""Predictors on checkpoints, SavedModels and frozen graphs, selected by the type of path."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from efficientdet.any_detector import AnyDetectorConfig
from efficientdet.checkpoint import load_checkpoint
from efficientdet.errors import CheckpointError
from efficientdet.model import build_model
from efficientdet.serving import detect
from efficientdet.types import Detections, Tensor
from google.protobuf.message import DecodeError

from efficientdet_pipeline.errors import DataError, OptionsError
from efficientdet_pipeline.inference.image_io import similar_names
from efficientdet_pipeline.inference.model_safety import check_graph, check_saved_model
from efficientdet_pipeline.inference.results import ImageDetections, per_image

IMAGES_SPEC = tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")
FROZEN_INPUT = "images:0"
FROZEN_OUTPUTS = ("Identity:0", "Identity_1:0", "Identity_2:0", "Identity_3:0")
TF1_INPUT, TF1_OUTPUT = "image_arrays:0", "detections:0"
"""Ends of the graphs of google/automl's model_inspect.py, which has one output (b, 100, 7)."""
SAVED_MODEL = "saved_model.pb"


class Predictor(Protocol):
    """Detects objects in images of one size."""

    def detect(self, images: np.ndarray) -> Detections:
        """Returns numpy arrays: boxes in pixels of the images, best first, padded.

        Args:
          images: uint8 RGB (b, h, w, 3).
        """


def detect_image(predictor: Predictor, image: np.ndarray, class_ids: Collection[int] = ()) -> ImageDetections:
    """Returns the detections of one image, clipped to it, best first.

    Args:
      image: uint8 RGB (h, w, 3).
      class_ids: of the classes to detect; none means all.
    """
    found = per_image(predictor.detect(image[None]))[0].within(*image.shape[:2])
    return found.of_classes(class_ids) if class_ids else found


class GraphPredictor:
    """A predictor on a TensorFlow function from images to boxes, scores, class ids and their number.

    Args:
      serve: the function.
      network: of the same detector, from normalized canvases to raw outputs; None if it cannot run alone.
      batch_size: number of images that `serve` takes; None for any.
    """

    def __init__(
        self,
        serve: Callable[[Tensor], Mapping[str, Tensor] | tuple[Tensor, ...] | list[Tensor]],
        network: Callable[[Tensor], object] | None = None,
        *,
        batch_size: int | None = None,
    ):
        self._serve, self._batch_size = serve, batch_size
        self.network = network
        """From normalized canvases (b, H, W, 3) to raw outputs; None if it cannot run alone."""

    def detect(self, images: np.ndarray) -> Detections:
        """Returns the detections; see `Predictor.detect`."""
        if self._batch_size in (None, len(images)):
            return self._detect(images)
        size = self._batch_size or 1
        chunks = [images[start : start + size] for start in range(0, len(images), size)]
        # The graph has one batch size: the last batch is filled up with its last image.
        filled = [np.concatenate([each, np.repeat(each[-1:], size - len(each), axis=0)]) for each in chunks]
        parts = zip(*map(self._detect, filled), strict=True)
        return Detections(*(np.concatenate(part)[: len(images)] for part in parts))

    def _detect(self, images: np.ndarray) -> Detections:
        return Detections(*(np.asarray(part) for part in self._serve(tf.constant(images, tf.uint8))))


def load_predictor(
    model_path: str | Path,
    config: AnyDetectorConfig | None = None,
    *,
    mode: str = "per_class",
    is_trusted: bool = False,
) -> Predictor:
    """Returns a predictor on the model at `model_path`.

    A folder with a saved_model.pb is a SavedModel (also an export's folder, which
    has it in saved_model/), a file ending in .pb is a frozen graph, and everything
    else a checkpoint (or its URL or published name, as in `load_checkpoint`), which
    does not describe its network: it needs `config`.

    Args:
      mode: of non-maximum suppression, for a checkpoint.
      is_trusted: load a SavedModel or frozen graph even if it contains operations
        that do more than compute, such as reading and writing files.

    Raises:
      FileNotFoundError: the path does not exist.
      OptionsError: a checkpoint without a `config`.
      DataError: a SavedModel or frozen graph is damaged, not a detector, or not
        trusted and contains operations that do more than compute.
      CheckpointError: a checkpoint that does not fit or is damaged.
    """
    path = Path(model_path).expanduser()
    if path.name == SAVED_MODEL:
        path = path.parent
    for folder in (path, path / "saved_model"):
        if (folder / SAVED_MODEL).is_file():
            return saved_model_predictor(folder, is_trusted=is_trusted)
    if path.suffix == ".pb":
        return frozen_graph_predictor(path, is_trusted=is_trusted)
    if config is None:
        if not path.exists():
            raise FileNotFoundError(f"The model {path} does not exist.{similar_names(path)}")
        raise OptionsError(
            f"A checkpoint needs the name of its network. {path} is neither a SavedModel (a folder with "
            "saved_model.pb) "
            "nor an exported file (.pb, .tflite, .onnx or .xml); for a checkpoint give --path_ckpt and --model_name."
        )
    model = build_model(config)
    # Unconverted, because a checkpoint may be a URL. Complete: a network with random parts is useless.
    try:
        logging.info("%s", load_checkpoint(model, model_path, skip_mismatch=False))
    except CheckpointError as error:
        if str(error) == error.finding:
            raise
        # The library's advice is about its arguments.
        raise DataError(f"{error.finding} Check --path_ckpt, --model_name and --hparams.") from error
    return model_predictor(model, config, mode=mode)


def model_predictor(model: keras.Model, config: AnyDetectorConfig, *, mode: str = "per_class") -> Predictor:
    """Returns a predictor on a model in memory; each call uses the current weights.

    Args:
      mode: of non-maximum suppression, as in `efficientdet.postprocess.detections`.
    """

    @tf.function(input_signature=[IMAGES_SPEC], jit_compile=False, autograph=False)
    def serve(images: Tensor) -> Detections:
        return detect(images, partial(model, training=False), config, mode=mode)

    return GraphPredictor(serve)


def saved_model_predictor(folder: str | Path, *, is_trusted: bool = False) -> Predictor:
    """Returns a predictor on a SavedModel exported by this product or by google/automl."""
    try:
        if not is_trusted:
            check_saved_model(Path(folder))
        loaded = tf.saved_model.load(str(folder))
        signature = loaded.signatures["serving_default"]
        names = [f"output_{number}" for number in range(4)]
        size = _batch_size(signature.inputs[0])
        if TF1_OUTPUT in signature.structured_outputs:
            serve_tf1 = partial(_tf1_answer, loaded)
            return GraphPredictor(serve_tf1, batch_size=size)
        if not set(names) <= set(signature.structured_outputs):
            raise KeyError(f"outputs {', '.join(names)}; it has {', '.join(signature.structured_outputs)}")
    except (OSError, DecodeError, ValueError, KeyError, tf.errors.OpError) as error:
        raise _not_a_detector(folder, error) from error

    def serve(images: Tensor) -> list[Tensor]:
        # `loaded` owns the variables: it must live as long as its signature.
        outputs = loaded.signatures["serving_default"](images=images)
        return [outputs[name] for name in names]

    if "predict" not in loaded.signatures:
        return GraphPredictor(serve, batch_size=size)
    return GraphPredictor(serve, lambda canvases: loaded.signatures["predict"](images=canvases), batch_size=size)


def frozen_graph_predictor(path: str | Path, *, is_trusted: bool = False) -> Predictor:
    """Returns a predictor on a frozen graph exported by this product or by google/automl."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"The frozen graph {path} does not exist.{similar_names(path)}")
    graph_def = tf.compat.v1.GraphDef()
    try:
        graph_def.ParseFromString(path.read_bytes())
        if not is_trusted:
            check_graph(path, graph_def)
        wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph_def, name=""), [])
        if {"image_arrays", "detections"} <= {node.name for node in graph_def.node}:
            of_tf1 = wrapped.prune(TF1_INPUT, TF1_OUTPUT)
            size = _batch_size(of_tf1.inputs[0])
            return GraphPredictor(lambda images: _tf1_detections({TF1_OUTPUT: of_tf1(images)}), batch_size=size)
        serve = wrapped.prune(FROZEN_INPUT, list(FROZEN_OUTPUTS))
    except (DecodeError, ValueError, KeyError, tf.errors.OpError) as error:
        raise _not_a_detector(path, error) from error
    return GraphPredictor(serve, batch_size=_batch_size(serve.inputs[0]))


def _batch_size(images: Tensor) -> int | None:
    """Returns the number of images that a graph takes; None for any."""
    return None if images.shape.rank is None or images.shape[0] is None else int(images.shape[0])


def _tf1_answer(loaded: Any, images: Tensor) -> Detections:
    # `loaded` owns the variables: it must live as long as its signature.
    return _tf1_detections(loaded.signatures["serving_default"](images))


def _tf1_detections(outputs: Mapping[str, Tensor]) -> Detections:
    """Returns the detections of rows (image number, y0, x0, y1, x1, score, class id)."""
    rows = outputs[TF1_OUTPUT]
    scores = rows[..., 5]
    return Detections(rows[..., 1:5], scores, rows[..., 6], tf.reduce_sum(tf.cast(scores > 0, tf.int32), axis=-1))


def _not_a_detector(path: str | Path, error: Exception) -> DataError:
    return DataError(
        f"{path} must be an exported detector, with the input 'images' and the outputs boxes, scores, classes and "
        "their "
        f"number. It cannot be opened: {type(error).__name__}: {' '.join(str(error).split())[:500]}. "
        "Export the checkpoint again with --mode=export."
    )

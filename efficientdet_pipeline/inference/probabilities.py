"""Exported networks that give probabilities of classes, each in its own runtime, as functions of one image."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from efficientdet.imagenet import imagenet_config
from efficientdet.preprocess_imagenet import imagenet_pixels
from google.protobuf.message import DecodeError

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.inference.image_io import similar_names
from efficientdet_pipeline.inference.model_safety import check_graph, check_saved_model
from efficientdet_pipeline.inference.onnx_loader import OnnxRunner
from efficientdet_pipeline.inference.openvino_loader import OpenvinoRunner
from efficientdet_pipeline.inference.probability_canvas import at_size_of, fitted_image
from efficientdet_pipeline.inference.tflite_loader import TfliteRunner
from efficientdet_pipeline.models.class_networks import ClassNetwork
from efficientdet_pipeline.models.classification import ClassificationNetwork
from efficientdet_pipeline.models.segmentation import SegmentationNetwork

Probabilities = Callable[[np.ndarray], np.ndarray]
"""Image (h, w, 3), uint8 RGB → float32 probabilities: (h, w, k) of a segmentation, (k,) of a classification."""
RunCanvas = Callable[[np.ndarray], np.ndarray]
"""Pixels (1, H, W, 3) float32, 0 to 255 → probabilities of the same, (1, H, W, k) or (1, k)."""
OUTPUT = "probabilities"


def load_probabilities(
    path: Path, network: ClassNetwork, *, is_trusted: bool = False, num_threads: int | None = None
) -> Probabilities:
    """Returns what an exported file computes of an image.

    Args:
      path: SavedModel folder, or a .pb, .tflite, .onnx or .xml file.
      network: as the description beside it says.
      is_trusted: load TensorFlow's own forms also where they can do more than calculate.
      num_threads: of the runtimes of .tflite, .onnx and .xml.

    Raises:
      FileNotFoundError: nothing is there.
      MissingExtraError: the artifact's runtime is not installed.
      DataError: damaged, of another network, or not trusted.
    """
    if not path.exists():
        raise FileNotFoundError(f"There is no model at {path}.{similar_names(path)}")
    if path.is_dir():
        return _Served(_saved_model(path, is_trusted=is_trusted), path, network)
    suffix = path.suffix.lower()
    if suffix == ".pb":
        return _Served(_frozen_graph(path, is_trusted=is_trusted), path, network)
    if suffix == ".tflite":
        runner = TfliteRunner(path.read_bytes(), num_threads=num_threads, path=path)
        if runner.canvas != network.image_size:
            raise DataError(
                f"{path} must take the canvas {network.image_size} (height, width) that the description beside it "
                f"has. Received one for {runner.canvas}: it is an artifact of another network."
            )
        return checked(canvas_probabilities(lambda pixels: runner.run(pixels)[0], network), path, network)
    outputs = (OUTPUT,)
    if suffix == ".onnx":
        onnx = OnnxRunner(path.read_bytes(), num_threads=num_threads, path=path, outputs=outputs)
        return checked(any_size_probabilities(lambda pixels: onnx.run(pixels)[0], network), path, network)
    openvino = OpenvinoRunner(path, num_threads=num_threads, outputs=outputs)
    return checked(any_size_probabilities(lambda pixels: openvino.run(pixels)[0], network), path, network)


def any_size_probabilities(run: RunCanvas, network: ClassNetwork) -> Probabilities:
    """Returns a function of images from the network alone: a segmentation takes them as they are."""
    if isinstance(network, ClassificationNetwork):
        return canvas_probabilities(run, network)
    return lambda image: run(image[np.newaxis].astype(np.float32))[0]


def canvas_probabilities(run: RunCanvas, network: ClassNetwork) -> Probabilities:
    """Returns a function of images from the network alone, where it takes its own canvas and nothing else."""
    imagenet = imagenet_config(network.config.backbone_name)
    if isinstance(network, SegmentationNetwork):

        def segmented(image: np.ndarray) -> np.ndarray:
            canvas, shown = fitted_image(image, network.image_size, imagenet.mean_rgb)
            return at_size_of(run(canvas)[0], shown, (image.shape[0], image.shape[1]))

        return segmented
    return lambda image: run(np.asarray(imagenet_pixels(tf.constant(image[np.newaxis]), imagenet, network.side)))[0]


def checked(predict: Probabilities, path: Path, network: ClassNetwork) -> Probabilities:
    """Returns the same function; the number of its columns is compared with the network's at each call.

    Raises:
      DataError: when called: it is of other classes.
    """
    columns = num_columns(network)

    def probabilities(image: np.ndarray) -> np.ndarray:
        chances = predict(image)
        if chances.shape[-1] != columns:
            raise DataError(
                f"{path} must give {columns} columns, as the description beside it says. Received "
                f"{chances.shape[-1]}: it is an artifact of another network."
            )
        return chances

    return probabilities


def num_columns(network: ClassNetwork) -> int:
    """Returns the number of columns of a network's probabilities."""
    return network.config.num_columns if isinstance(network, SegmentationNetwork) else network.config.num_classes


class _Served:
    """TensorFlow's own forms, which take images of any size; keeps what owns the variables alive."""

    def __init__(self, serve: Callable[[tf.Tensor], Any], path: Path, network: ClassNetwork) -> None:
        self._run = checked(lambda image: np.asarray(serve(tf.constant(image[np.newaxis])))[0], path, network)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return self._run(image)


def _saved_model(folder: Path, *, is_trusted: bool) -> Callable[[tf.Tensor], Any]:
    try:
        if not is_trusted:
            check_saved_model(folder)
        loaded = tf.saved_model.load(str(folder))
        serve = loaded.signatures["serving_default"]
        if OUTPUT not in serve.structured_outputs:
            raise KeyError(f"output {OUTPUT}; it has {', '.join(serve.structured_outputs)}")
    except (OSError, DecodeError, ValueError, KeyError, tf.errors.OpError) as error:
        raise _not_ours(folder, error) from error
    # `loaded` owns the variables: it must live as long as its signature.
    return lambda images: loaded.signatures["serving_default"](images=images)[OUTPUT]


def _frozen_graph(path: Path, *, is_trusted: bool) -> Callable[[tf.Tensor], Any]:
    graph_def = tf.compat.v1.GraphDef()
    try:
        graph_def.ParseFromString(path.read_bytes())
        if not is_trusted:
            check_graph(path, graph_def)
        wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph_def, name=""), [])
        pruned: Callable[[tf.Tensor], Any] = wrapped.prune("images:0", f"{OUTPUT}:0")
    except (DecodeError, ValueError, KeyError, tf.errors.OpError) as error:
        raise _not_ours(path, error) from error
    return pruned


def _not_ours(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} must be an exported network: images in by the name 'images', {OUTPUT} out. Opening it failed with "
        f"{type(error).__name__}: {' '.join(str(error).split())[:500]}. Export the checkpoint again with --mode=export."
    )

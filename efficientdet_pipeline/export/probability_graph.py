"""A network that gives probabilities of classes as a graph, between its pre- and post-processing."""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from efficientdet.imagenet import imagenet_config
from efficientdet.preprocess import decode_image
from efficientdet.preprocess_imagenet import imagenet_pixels, normalize_rgb
from efficientdet.types import Tensor
from efficientdet.unet import class_map, probabilities

from efficientdet_pipeline.inference.probability_canvas import fitted_image
from efficientdet_pipeline.models.class_networks import ClassNetwork
from efficientdet_pipeline.models.classification import ClassificationNetwork
from efficientdet_pipeline.models.segmentation import SegmentationNetwork

_DTYPES = {"uint8": tf.uint8, "float32": tf.float32}


class CanvasFunction(NamedTuple):
    """The network alone with its normalization, traced from pixels of its canvas to probabilities."""

    function: Any
    """A concrete function: `images` (b, H, W, 3), 0 to 255 → probabilities (b, H, W, k), or (b, k)."""
    owner: tf.Module
    """What must live as long as the function."""


class ProbabilityGraph(tf.Module):
    """A network with one function per signature.

    serve: `images` uint8 (b, h, w, 3), RGB, of any size → named outputs,
    "probabilities" among them. serve_bytes: `image_bytes`, a scalar string, an
    encoded image → the same, b = 1.
    """

    def __init__(self, model: keras.Model, network: ClassNetwork) -> None:
        super().__init__()
        self.model = model
        self.network = network
        self.imagenet = imagenet_config(network.config.backbone_name)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, "images")])
    def serve(self, images: Tensor) -> dict[str, Tensor]:
        """Returns the outputs of images of one size."""
        return self._outputs(images)

    @tf.function(input_signature=[tf.TensorSpec((), tf.string, "image_bytes")])
    def serve_bytes(self, image_bytes: Tensor) -> dict[str, Tensor]:
        """Returns the outputs of an encoded image."""
        return self._outputs(decode_image(image_bytes)[tf.newaxis])

    def on_canvas(self, *, batch_size: int | None, dtype: str, is_fixed: bool) -> CanvasFunction:
        """Returns the network between normalization and probabilities.

        Args:
          batch_size: number of images; None for any.
          dtype: of the pixels: uint8 or float32.
          is_fixed: whether height and width are those of the network's canvas; if not, a segmentation takes any.
        """
        size = self.network.image_size if is_fixed or not self.takes_any_size else (None, None)
        spec = tf.TensorSpec((batch_size, *size, 3), _DTYPES[dtype], "images")

        @tf.function(input_signature=[spec], autograph=False)
        def run(images: Tensor) -> Tensor:
            return tf.identity(self._probabilities(tf.cast(images, tf.float32)), "probabilities")

        return CanvasFunction(run.get_concrete_function(), self)

    def canvas_of(self, image: np.ndarray) -> np.ndarray:
        """Returns an image (h, w, 3), uint8 RGB, as the canvas shows it: (1, H, W, 3) float32, whole numbers."""
        raise NotImplementedError(f"{type(self).__name__} must define canvas_of.")

    @property
    def takes_any_size(self) -> bool:
        """Whether the network itself takes images of any size."""
        raise NotImplementedError(f"{type(self).__name__} must define takes_any_size.")

    def _outputs(self, images: Tensor) -> dict[str, Tensor]:
        raise NotImplementedError(f"{type(self).__name__} must define _outputs.")

    def _probabilities(self, pixels: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define _probabilities.")


class SegmentationGraph(ProbabilityGraph):
    """Outputs: `class_map` uint8 (b, h, w), columns of the network, and `probabilities` float32 (b, h, w, k); one
    column is the probability of class 1.
    """

    takes_any_size = True

    def canvas_of(self, image: np.ndarray) -> np.ndarray:
        """Returns an image as large as the canvas allows, the rest in the mean color."""
        return fitted_image(image, self.network.image_size, self.imagenet.mean_rgb)[0]

    def _outputs(self, images: Tensor) -> dict[str, Tensor]:
        logits = self.model(normalize_rgb(tf.cast(images, tf.float32), self.imagenet), training=False)
        return {"class_map": tf.cast(class_map(logits), tf.uint8), "probabilities": probabilities(logits)}

    def _probabilities(self, pixels: Tensor) -> Tensor:
        return probabilities(self.model(normalize_rgb(pixels, self.imagenet), training=False))


class ClassificationGraph(ProbabilityGraph):
    """Outputs: `class_index` int32 (b,), the best column of the network, and `probabilities` float32 (b, k)."""

    takes_any_size = False

    def canvas_of(self, image: np.ndarray) -> np.ndarray:
        """Returns the central square of an image."""
        pixels = imagenet_pixels(tf.constant(image[None]), self.imagenet, self.network.image_size[0])
        return np.clip(np.rint(np.asarray(pixels)), 0, 255)

    def _outputs(self, images: Tensor) -> dict[str, Tensor]:
        chances = self._probabilities(imagenet_pixels(images, self.imagenet, self.network.image_size[0]))
        return {"class_index": tf.argmax(chances, axis=-1, output_type=tf.int32), "probabilities": chances}

    def _probabilities(self, pixels: Tensor) -> Tensor:
        return tf.nn.softmax(self.model(normalize_rgb(pixels, self.imagenet), training=False))


def probability_graph(model: keras.Model, network: ClassNetwork) -> ProbabilityGraph:
    """Returns the graph of a network that holds its weights."""
    if isinstance(network, ClassificationNetwork):
        return ClassificationGraph(model, network)
    if isinstance(network, SegmentationNetwork):
        return SegmentationGraph(model, network)
    raise TypeError(f"A segmentation or a classification network must be given. Received {type(network).__name__}.")

"""A network that gives probabilities of classes as a graph, between its pre- and post-processing."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import keras
import numpy as np
import tensorflow as tf
from efficientdet.imagenet import ImageNetConfig, imagenet_config
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


class NetworkKind(Protocol):
    """What differs between the kinds of networks."""

    @property
    def takes_any_size(self) -> bool:
        """Whether the network itself takes images of any size."""

    def canvas_of(self, image: np.ndarray) -> np.ndarray:
        """Returns an image (h, w, 3), uint8 RGB, as the canvas shows it: (1, H, W, 3) float32, whole numbers."""

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Returns the named outputs of images (b, h, w, 3), uint8 RGB."""

    def probabilities(self, pixels: Tensor) -> Tensor:
        """Returns the probabilities of pixels of the canvas, (b, H, W, 3) float32, 0 to 255."""


class ProbabilityGraph(tf.Module):
    """A network with one function per signature.

    serve: `images` uint8 (b, h, w, 3), RGB, of any size → named outputs,
    "probabilities" among them. serve_bytes: `image_bytes`, a scalar string, an
    encoded image → the same, b = 1.
    """

    def __init__(self, model: keras.Model, network: ClassNetwork, kind: NetworkKind) -> None:
        super().__init__()
        self.model = model
        self.network = network
        self.kind = kind

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, "images")])
    def serve(self, images: Tensor) -> dict[str, Tensor]:
        """Returns the outputs of images of one size."""
        return self.kind.outputs(images)

    @tf.function(input_signature=[tf.TensorSpec((), tf.string, "image_bytes")])
    def serve_bytes(self, image_bytes: Tensor) -> dict[str, Tensor]:
        """Returns the outputs of an encoded image."""
        return self.kind.outputs(decode_image(image_bytes)[tf.newaxis])

    def on_canvas(self, *, batch_size: int | None, dtype: str, is_fixed: bool) -> CanvasFunction:
        """Returns the network between normalization and probabilities.

        Args:
          batch_size: number of images; None for any.
          dtype: of the pixels: uint8 or float32.
          is_fixed: whether height and width are those of the network's canvas; if not, a segmentation takes any.
        """
        size = self.network.image_size if is_fixed or not self.kind.takes_any_size else (None, None)
        spec = tf.TensorSpec((batch_size, *size, 3), _DTYPES[dtype], "images")

        @tf.function(input_signature=[spec], autograph=False)
        def run(images: Tensor) -> Tensor:
            return tf.identity(self.kind.probabilities(tf.cast(images, tf.float32)), "probabilities")

        return CanvasFunction(run.get_concrete_function(), self)

    def canvas_of(self, image: np.ndarray) -> np.ndarray:
        """Returns an image (h, w, 3), uint8 RGB, as the canvas shows it: (1, H, W, 3) float32, whole numbers."""
        return self.kind.canvas_of(image)


@dataclass(frozen=True)
class Segmentation:
    """Outputs: `class_map` uint8 (b, h, w), columns of the network, and `probabilities` float32 (b, h, w, k); one
    column is the probability of class 1.
    """

    model: keras.Model
    image_size: tuple[int, int]
    imagenet: ImageNetConfig
    takes_any_size: bool = True

    def canvas_of(self, image: np.ndarray) -> np.ndarray:
        """Returns an image as large as the canvas allows, the rest in the mean color."""
        return fitted_image(image, self.image_size, self.imagenet.mean_rgb)[0]

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Returns the map and the probabilities, each of the size of the images."""
        logits = self._logits(tf.cast(images, tf.float32))
        return {"class_map": tf.cast(class_map(logits), tf.uint8), "probabilities": probabilities(logits)}

    def probabilities(self, pixels: Tensor) -> Tensor:
        """Returns the probabilities of the classes at each pixel."""
        return probabilities(self._logits(pixels))

    def _logits(self, pixels: Tensor) -> Tensor:
        return self.model(normalize_rgb(pixels, self.imagenet), training=False)


@dataclass(frozen=True)
class Classification:
    """Outputs: `class_index` int32 (b,), the best column of the network, and `probabilities` float32 (b, k)."""

    model: keras.Model
    image_size: tuple[int, int]
    imagenet: ImageNetConfig
    takes_any_size: bool = False

    def canvas_of(self, image: np.ndarray) -> np.ndarray:
        """Returns the central square of an image."""
        pixels = imagenet_pixels(tf.constant(image[None]), self.imagenet, self.image_size[0])
        return np.clip(np.rint(np.asarray(pixels)), 0, 255)

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Returns the class and the probabilities of the central square of each image."""
        chances = self.probabilities(imagenet_pixels(images, self.imagenet, self.image_size[0]))
        return {"class_index": tf.argmax(chances, axis=-1, output_type=tf.int32), "probabilities": chances}

    def probabilities(self, pixels: Tensor) -> Tensor:
        """Returns the probabilities of the classes of each square."""
        return tf.nn.softmax(self.model(normalize_rgb(pixels, self.imagenet), training=False))


def probability_graph(model: keras.Model, network: ClassNetwork) -> ProbabilityGraph:
    """Returns the graph of a network that holds its weights."""
    if not isinstance(network, ClassificationNetwork | SegmentationNetwork):
        raise TypeError(f"A segmentation or a classification network must be given. Received {type(network).__name__}.")
    imagenet = imagenet_config(network.config.backbone_name)
    kind = Classification if isinstance(network, ClassificationNetwork) else Segmentation
    return ProbabilityGraph(model, network, kind(model, network.image_size, imagenet))

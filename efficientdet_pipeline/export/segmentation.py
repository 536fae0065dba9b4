"""Export of a segmentation network as a SavedModel with its description."""

from pathlib import Path

import keras
import tensorflow as tf
import yaml
from efficientdet.imagenet import imagenet_config
from efficientdet.preprocess import decode_image
from efficientdet.preprocess_imagenet import normalize_rgb
from efficientdet.unet import class_map, probabilities

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.export.earlier import check_replaceable
from efficientdet_pipeline.models.segmentation import SegmentationNetwork
from efficientdet_pipeline.runs.output_files import NOTE, note_output_files
from tfrmod import fileio
from tfrmod.replacement import finish_replacement, replace_files

SAVED_MODEL = "saved_model"
DESCRIPTION = "hparams_config.yaml"
LABEL_MAP = "label_map.yaml"


class ServedSegmentation(tf.Module):
    """A segmentation network with its pre- and post-processing.

    serving_default: `images` uint8 (b, h, w, 3), RGB, of any size → `class_map`
    uint8 (b, h, w), columns of the network, and `probabilities` float32
    (b, h, w, k); one column is the probability of class 1.
    serving_bytes: `image_bytes`, a scalar string, an encoded image → the same, b = 1.
    """

    def __init__(self, model: keras.Model, network: SegmentationNetwork) -> None:
        super().__init__()
        self.model = model
        self.imagenet = imagenet_config(network.config.backbone_name)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, "images")])
    def serve(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns class maps and probabilities of images of one size."""
        logits = self.model(normalize_rgb(tf.cast(images, tf.float32), self.imagenet), training=False)
        return {"class_map": tf.cast(class_map(logits), tf.uint8), "probabilities": probabilities(logits)}

    @tf.function(input_signature=[tf.TensorSpec((), tf.string, "image_bytes")])
    def serve_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns class map and probabilities of an encoded image."""
        return self.serve(decode_image(image_bytes)[tf.newaxis])


def export_segmentation(model: keras.Model, network: SegmentationNetwork, folder: str | Path) -> dict[str, Path]:
    """Writes the SavedModel, the description and the label map, atomically; returns {format: path}.

    Raises:
      OptionsError: an unrelated file has the name of one of the new files, or the backend is JAX.
      OSError: the files cannot be written.
    """
    if keras.backend.backend() != "tensorflow":
        raise OptionsError(
            "The export of a segmentation needs TensorFlow. Received --backend=jax; run --mode=export on the "
            "checkpoint "
            "without it.",
            option="backend",
        )
    folder = Path(folder).expanduser()
    finish_replacement(folder)
    names = {SAVED_MODEL, DESCRIPTION, LABEL_MAP}
    earlier = check_replaceable(folder, names)

    def write(place: Path) -> None:
        served = ServedSegmentation(model, network)
        signatures = {
            "serving_default": served.serve.get_concrete_function(),
            "serving_bytes": served.serve_bytes.get_concrete_function(),
        }
        tf.saved_model.save(served, str(place / SAVED_MODEL), signatures=signatures)
        network.write(place / DESCRIPTION)
        labels = yaml.safe_dump(dict(network.label_map), sort_keys=False, allow_unicode=True)
        fileio.write_file(place / LABEL_MAP, labels)
        note_output_files(place, names, ())

    replace_files(folder, write, earlier={*names, *earlier, NOTE})
    return {"saved_model": folder / SAVED_MODEL}

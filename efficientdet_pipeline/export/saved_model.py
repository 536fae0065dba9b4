"""Export as a SavedModel folder."""

from pathlib import Path

import tensorflow as tf

from efficientdet_pipeline.export.serving import ServedDetector


def write_saved_model(served: ServedDetector, folder: Path) -> None:
    """Writes the folder with the signatures of automl's export, and one for encoded images.

    serving_default: `images` uint8 (b, h, w, 3) → `output_0` boxes, `output_1`
    scores, `output_2` class ids, `output_3` their number; of a network with the
    head segmentation `output_4`, the class of each pixel, uint8 (b, h, w).
    serving_bytes: `image_bytes` string (b,), encoded images → the same boxes.
    predict: `images` float32, normalised, of the canvas size → `output_0` … the
    class logits of each level, then the box deltas of each.

    Args:
      served: the detector; its weights are constants, so the folder has no variables.
      folder: created; must not exist.
    """
    # Concrete functions, because tf.saved_model.save would trace a plain tf.function again.
    signatures = {
        "serving_default": served.serve.get_concrete_function(),
        "serving_bytes": served.serve_bytes.get_concrete_function(),
        "predict": served.predict.get_concrete_function(),
    }
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(served, str(folder), signatures=signatures, options=options)

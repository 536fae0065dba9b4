"""Images on the canvas of a network that takes one size alone, and its probabilities back at their size."""

import numpy as np
import tensorflow as tf


def fitted_image(
    image: np.ndarray, canvas_size: tuple[int, int], fill: tuple[float, float, float]
) -> tuple[np.ndarray, tuple[int, int]]:
    """Returns an image at the top left of a canvas, as large as it allows, and the rows and columns that show it.

    Args:
      image: (h, w, 3), uint8 RGB.
      canvas_size: height and width.
      fill: color of the rest.

    Returns:
      (1, H, W, 3) float32, whole numbers from 0 to 255, and (rows, columns).
    """
    height, width = image.shape[:2]
    scale = min(canvas_size[0] / height, canvas_size[1] / width)
    rows, columns = (
        max(1, min(round(side * scale), most)) for side, most in zip((height, width), canvas_size, strict=True)
    )
    canvas = np.empty((1, *canvas_size, 3), np.float32)
    canvas[:] = np.rint(fill)
    canvas[0, :rows, :columns] = np.clip(np.rint(_resized(image, (rows, columns))), 0, 255)
    return canvas, (rows, columns)


def at_size_of(chances: np.ndarray, shown: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Returns probabilities of a canvas (H, W, k) at an image's size, (h, w, k).

    Args:
      chances: of the canvas.
      shown: rows and columns of the canvas that show the image.
      size: height and width of the image.
    """
    return _resized(chances[: shown[0], : shown[1]], size)


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if pixels.shape[:2] == size:
        return pixels.astype(np.float32)
    return np.asarray(tf.image.resize(pixels, size))

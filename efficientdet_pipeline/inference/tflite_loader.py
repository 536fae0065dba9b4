"""Predictors on TensorFlow Lite files, with raw outputs or with TFLite_Detection_PostProcess."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from efficientdet.any_detector import AnyDetectorConfig
from efficientdet.config import get_config
from efficientdet.preprocess import Canvas
from efficientdet.types import Detections

from efficientdet_pipeline.console import native_lines_dropped
from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.inference.canvas import normalized, pixel_canvases
from efficientdet_pipeline.inference.raw_heads import RawHeadsPredictor

_POST_PROCESSED_OUTPUTS = 4
_FEWEST_BYTES = 20_000
"""Bytes of a file below which no detector fits, not even in int8."""


class TfliteRunner:
    """A TFLite file in LiteRT if installed, else in TensorFlow's interpreter.

    Args:
      content: of the file.
      num_threads: of the interpreter; None for its default.
      path: of the file, for messages.

    Raises:
      DataError: it is damaged, or has operations that the interpreter lacks.
    """

    def __init__(self, content: bytes, *, num_threads: int | None = None, path: Path | None = None) -> None:
        self._path = path or Path("the TFLite file")
        try:
            with native_lines_dropped("INFO: Created TensorFlow Lite"):
                self._interpreter = _interpreter(content, num_threads)
                self._interpreter.allocate_tensors()
            self._inputs = self._interpreter.get_input_details()
            self._outputs = self._interpreter.get_output_details()
        except (ValueError, RuntimeError) as error:
            raise DataError(
                f"{self._path} must be a TensorFlow Lite file of builtin operations. It cannot be opened: "
                f"{' '.join(str(error).split())[:500]}. Export the checkpoint again with --mode=export."
            ) from error
        if len(self._inputs) != 1 or len(self._inputs[0]["shape"]) != 4 or self._inputs[0]["shape"][-1] != 3:
            raise DataError(
                f"{self._path} must take one image (1, H, W, 3). Received inputs of shapes "
                f"{[each['shape'].tolist() for each in self._inputs]}; it is not a detector."
            )

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width of the input."""
        return int(self._inputs[0]["shape"][1]), int(self._inputs[0]["shape"][2])

    @property
    def takes_floats(self) -> bool:
        """Whether the input is normalized pixels, as in google/automl's own files, rather than 0 to 255."""
        return bool(self._inputs[0]["dtype"] == np.float32)

    @property
    def is_post_processed(self) -> bool:
        """Whether it returns detections instead of raw outputs."""
        return len(self._outputs) == _POST_PROCESSED_OUTPUTS

    def run(self, canvas: np.ndarray) -> list[np.ndarray]:
        """Returns the outputs for one canvas (1, H, W, 3) of pixels, 0 to 255."""
        self._interpreter.set_tensor(self._inputs[0]["index"], _as_input(canvas, self._inputs[0]))
        self._interpreter.invoke()
        return [_dequantized(self._interpreter.get_tensor(each["index"]), each) for each in self._outputs]

    def run_outputs(self, canvases: np.ndarray) -> list[np.ndarray]:
        """Returns all outputs in their order in the file, of one canvas at a time."""
        rows = [self.run(canvas[np.newaxis]) for canvas in canvases]
        return [np.concatenate(column) for column in zip(*rows, strict=True)]

    def run_heads(self, canvases: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns logits (b, a, k) and deltas (b, a, 4), one canvas at a time.

        Raises:
          DataError: the file has other outputs.
        """
        found = self.run_outputs(canvases)
        names = [str(each["name"]) for each in self._outputs]
        if "map_logits" in names:
            found.pop(names.index("map_logits"))
            names.remove("map_logits")
        if len(found) != 2 or any(array.ndim != 3 for array in found):
            raise DataError(
                f"{self._path} must return logits and deltas (1, a, k) and (1, a, 4), or the four outputs of "
                f"TFLite_Detection_PostProcess. Received {names} of shapes {[array.shape for array in found]}."
            )
        order = [names.index("logits"), names.index("deltas")] if set(names) == {"logits", "deltas"} else [0, 1]
        return found[order[0]], found[order[1]]


class PostProcessedPredictor:
    """Detection by a TFLite file that ends in TFLite_Detection_PostProcess, such as those published by automl.

    Args:
      runner: of the file.
      config: of the network, for its normalization and padding; None for that of lite0 to lite4.
      resize: letterbox, or stretch as in MediaPipe; None for that of the config.
    """

    def __init__(self, runner: TfliteRunner, config: AnyDetectorConfig | None = None, *, resize: str | None = None):
        self._runner = runner
        self.run_network = self._run_each
        self._resize = resize or (None if config is None else config.resize)
        known = config or get_config("efficientdet-lite0")
        self._config = Canvas(
            image_size=runner.canvas,
            mean_rgb=known.mean_rgb,
            stddev_rgb=known.stddev_rgb,
            scale_range=known.scale_range,
        )

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width of the input."""
        return self._runner.canvas

    def detect(self, images: np.ndarray) -> Detections:
        """Returns numpy arrays: boxes in pixels of the images, best first, padded.

        Args:
          images: uint8 RGB (b, h, w, 3).
        """
        canvases, scales = pixel_canvases(images, self._config, self._resize)
        height, width = self._runner.canvas
        to_pixels = np.tile(scales * [height, width], 2)
        rows = [self._one(canvas[np.newaxis], to_pixels, images.shape[1:3]) for canvas in canvases]
        return Detections(*(np.stack(part) for part in zip(*rows, strict=True)))

    def _run_each(self, canvases: np.ndarray) -> list[list[np.ndarray]]:
        return [self._run(canvas[np.newaxis]) for canvas in canvases]

    def _run(self, canvas: np.ndarray) -> list[np.ndarray]:
        is_normalized = self._runner.takes_floats
        return self._runner.run(np.asarray(normalized(canvas, self._config)) if is_normalized else canvas)

    def _one(self, canvas: np.ndarray, to_pixels: np.ndarray, size: Any) -> tuple[Any, ...]:
        boxes, class_index, scores, count = _by_meaning(self._run(canvas))
        num_valid = int(count.reshape(-1)[0])
        is_valid = np.arange(len(scores)) < num_valid
        boxes = np.clip(boxes * to_pixels, 0.0, [*size, *size]) * is_valid[:, np.newaxis]
        class_ids = (class_index + 1.0) * is_valid
        return boxes.astype(np.float32), scores * is_valid, class_ids.astype(np.float32), np.int32(num_valid)


def _by_meaning(outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns boxes, classes, scores and count, identified by shape; classes and scores by values or order."""
    boxes = next(each for each in outputs if each.ndim == 3)
    count = next(each for each in outputs if each.size == 1 and each.ndim == 1)
    class_index, scores = (each for each in outputs if each is not boxes and each is not count)
    # Some converters sort outputs by name: scores are between 0 and 1 and descending, class indices are integers.
    if _looks_like_classes(scores) and not _looks_like_classes(class_index):
        class_index, scores = scores, class_index
    return boxes[0], class_index[0], scores[0], count


def _looks_like_classes(values: np.ndarray) -> bool:
    return bool(np.all(values == np.rint(values)))


def _as_input(canvas: np.ndarray, details: Mapping[str, Any]) -> np.ndarray:
    dtype = details["dtype"]
    scale, zero_point = details["quantization"]
    if dtype == np.uint8:
        return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)
    if dtype == np.int8:
        pixels = canvas / scale + zero_point if scale else canvas - 128.0
        return np.clip(np.rint(pixels), -128, 127).astype(np.int8)
    return canvas.astype(dtype, copy=False)


def _dequantized(values: np.ndarray, details: Mapping[str, Any]) -> np.ndarray:
    scale, zero_point = details["quantization"]
    if values.dtype == np.float32 or not scale:
        return np.asarray(values, np.float32)
    return ((values.astype(np.float32) - zero_point) * scale).astype(np.float32)


def _interpreter(content: bytes, num_threads: int | None) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        with warnings.catch_warnings():
            # TensorFlow's deprecation warning names the successor, which is used if it is installed.
            warnings.filterwarnings("ignore", r"[\s\S]*tf\.lite\.Interpreter is deprecated", UserWarning)
            return tf.lite.Interpreter(model_content=content, num_threads=num_threads)
    return Interpreter(model_content=content, num_threads=num_threads)


def tflite_predictor(
    path: str | Path,
    config: AnyDetectorConfig | None,
    *,
    mode: str = "per_class",
    resize: str | None = None,
    num_threads: int | None = None,
) -> RawHeadsPredictor | PostProcessedPredictor:
    """Returns a predictor on a TFLite file.

    Args:
      config: of the network, for raw outputs; a post-processed file needs none.
      mode: of non-maximum suppression, for raw outputs.
      resize: how images are resized to the canvas.
      num_threads: of the interpreter.

    Raises:
      FileNotFoundError: the file does not exist.
      DataError: it is damaged or not a detector, or has raw outputs and no config.
    """
    path = Path(path)
    runner = TfliteRunner(path.read_bytes(), num_threads=num_threads, path=path)
    if runner.is_post_processed:
        size = path.stat().st_size
        if size < _FEWEST_BYTES:
            raise DataError(
                f"{path} must contain the weights of a detector. Received {size:,} bytes, which hold none: converters "
                "write such a file, which detects nothing, without an error; export the checkpoint by --mode=export."
            )
        if config is None and runner.takes_floats:
            raise DataError(
                f"{path} takes normalized pixels in float32, and the mean and standard deviation of its network must "
                "be beside it in hparams_config.yaml. It is missing; for a lite network of google/automl write the "
                "line `name: efficientdet-lite0` into it."
            )
        return PostProcessedPredictor(runner, config, resize=resize)
    if config is None:
        raise DataError(
            f"{path} contains the network alone, whose description must be beside it as hparams_config.yaml. It is "
            "missing; copy it from the folder of the export."
        )
    if config.image_size != runner.canvas:
        raise DataError(
            f"{path} must take the canvas {config.image_size} (height, width) of the description beside it. "
            f"Received {runner.canvas}: it is an artifact of another network."
        )
    return RawHeadsPredictor(runner.run_heads, config, path=path, mode=mode, resize=resize)

"""Predictors on ONNX files with raw outputs, run by onnxruntime."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from efficientdet.any_detector import AnyDetectorConfig

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.inference.extras import import_extra
from efficientdet_pipeline.inference.raw_heads import RawHeadsPredictor, check_images


class OnnxRunner:
    """An ONNX file in onnxruntime, on the CPU.

    Args:
      content: of the file.
      num_threads: threads per operation; None for onnxruntime's default.
      path: of the file, for messages.
      outputs: that it must have.

    Raises:
      MissingExtraError: onnxruntime is not installed.
      DataError: the file is damaged, or has other inputs or outputs.
    """

    def __init__(
        self,
        content: bytes,
        *,
        num_threads: int | None = None,
        path: Path | None = None,
        outputs: Sequence[str] = ("logits", "deltas"),
    ) -> None:
        runtime = import_extra("onnxruntime", purpose="Running an ONNX file")
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        if num_threads:
            options.intra_op_num_threads = num_threads
        self._path = place = path or Path("the ONNX file")
        try:
            self._session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no other common class.
            raise DataError(
                f"{place} must be an ONNX file. It cannot be opened: {type(error).__name__}: "
                f"{' '.join(str(error).split())[:500]}. Export the checkpoint again with --mode=export."
            ) from error
        names = [each.name for each in self._session.get_outputs()]
        inputs = [each.name for each in self._session.get_inputs()]
        self._outputs = list(outputs)
        if set(names) != set(outputs) or inputs != ["images"]:
            wanted = " and ".join(f"`{name}`" for name in outputs)
            is_onnx_nms = {"boxes", "class_ids", "image_index"} <= set(names)
            why = "files with suppression inside are for other programs, use onnx" if is_onnx_nms else "another model"
            raise DataError(
                f"{place} must have the input `images` and the outputs {wanted} of an export. Received inputs "
                f"{', '.join(inputs)} and outputs {', '.join(names)}: {why}."
            )

    def run_heads(self, canvases: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns logits (b, a, k) and deltas (b, a, 4) for canvases (b, H, W, 3) of pixels, 0 to 255."""
        logits, deltas = self.run(canvases)
        return logits, deltas

    def run(self, pixels: np.ndarray) -> list[np.ndarray]:
        """Returns the outputs for images (b, H, W, 3) of pixels, 0 to 255.

        Raises:
          DataError: the file takes images of another size.
        """
        check_images(self._path, self._session.get_inputs()[0].shape, pixels)
        return [
            np.asarray(each)
            for each in self._session.run(self._outputs, {"images": pixels.astype(np.float32, copy=False)})
        ]


def onnx_predictor(
    path: str | Path,
    config: AnyDetectorConfig,
    *,
    mode: str = "per_class",
    resize: str | None = None,
    num_threads: int | None = None,
) -> RawHeadsPredictor:
    """Returns a predictor on an ONNX file with raw outputs.

    Args:
      config: of the network.
      mode: of non-maximum suppression, as in `postprocess.detections`.
      resize: how images are resized to the canvas.
      num_threads: of onnxruntime.

    Raises:
      FileNotFoundError: the file does not exist.
      MissingExtraError: onnxruntime is not installed.
      DataError: the file is damaged, or of another model.
    """
    path = Path(path)
    runner = OnnxRunner(path.read_bytes(), num_threads=num_threads, path=path)
    return RawHeadsPredictor(runner.run_heads, config, path=path, mode=mode, resize=resize)

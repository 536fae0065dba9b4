"""Predictors on OpenVINO IR with raw outputs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from efficientdet.any_detector import AnyDetectorConfig

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.inference.extras import import_extra
from efficientdet_pipeline.inference.raw_heads import RawHeadsPredictor, check_images

PRECISION_NOTE = ("efficientdet_pipeline", "precision")
"""Place of the inference precision in a model's runtime information; without it, `_EXACT`."""
_EXACT = "f32"
"""Inference precision. OpenVINO's default on newer processors is bfloat16: faster, with scores 0.01 apart."""


class OpenvinoRunner:
    """OpenVINO IR on the CPU.

    Args:
      path: of the .xml; the .bin is in the same folder.
      num_threads: None for OpenVINO's choice.
      precision: of the calculation: f32, or bf16 where the processor has it; None for that of the file.
      outputs: that it must have.

    Raises:
      MissingExtraError: openvino is not installed.
      DataError: the files are damaged, or have other inputs or outputs.
    """

    def __init__(
        self,
        path: Path,
        *,
        num_threads: int | None = None,
        precision: str | None = None,
        outputs: Sequence[str] = ("logits", "deltas"),
    ) -> None:
        openvino = import_extra("openvino", purpose="Running OpenVINO IR")
        settings = {"PERFORMANCE_HINT": "LATENCY"}
        if num_threads:
            settings["INFERENCE_NUM_THREADS"] = str(num_threads)
        self._path = path
        if not path.with_suffix(".bin").is_file():
            raise DataError(
                f"{path} describes a model whose weights must be beside it as {path.with_suffix('.bin').name}. That "
                "file is missing; copy it from the folder of the export."
            )
        core = openvino.Core()
        try:
            # In memory: the files may be replaced while they are in use.
            model = core.read_model(path.read_bytes(), path.with_suffix(".bin").read_bytes())
            settings["INFERENCE_PRECISION_HINT"] = precision or _noted_precision(model)
            self._model = core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise DataError(
                f"{path} and {path.with_suffix('.bin').name} must be OpenVINO IR. It cannot be opened: "
                f"{' '.join(str(error).split())[:500]}. Export the checkpoint again with --mode=export."
            ) from error
        names = {name for output in self._model.outputs for name in output.get_names()}
        self._outputs = tuple(outputs)
        if not set(outputs) <= names:
            wanted = " and ".join(f"`{name}`" for name in outputs)
            raise DataError(
                f"{path} must have the outputs {wanted} of an export. Received outputs "
                f"{', '.join(sorted(names)) or 'without names'}; it is another model."
            )

    def run_heads(self, canvases: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns logits (b, a, k) and deltas (b, a, 4) for canvases (b, H, W, 3) of pixels, 0 to 255."""
        logits, deltas = self.run(canvases)
        return logits, deltas

    def run(self, pixels: np.ndarray) -> list[np.ndarray]:
        """Returns the outputs for images (b, H, W, 3) of pixels, 0 to 255.

        Raises:
          DataError: the model takes images of another size.
        """
        taken = [each.get_length() if each.is_static else None for each in self._model.inputs[0].partial_shape]
        check_images(self._path, taken, pixels)
        outputs = self._model(pixels.astype(np.float32, copy=False), share_inputs=True)
        return [np.array(outputs[name]) for name in self._outputs]


def _noted_precision(model: Any) -> str:
    place = list(PRECISION_NOTE)
    return "bf16" if model.has_rt_info(place) and model.get_rt_info(place).astype(str) == "bf16" else _EXACT


def openvino_predictor(
    path: str | Path,
    config: AnyDetectorConfig,
    *,
    mode: str = "per_class",
    resize: str | None = None,
    num_threads: int | None = None,
) -> RawHeadsPredictor:
    """Returns a predictor on OpenVINO IR with raw outputs.

    Args:
      path: of the .xml.
      config: of the network.
      mode: of non-maximum suppression, as in `postprocess.detections`.
      resize: how images are resized to the canvas.
      num_threads: of OpenVINO.

    Raises:
      FileNotFoundError: a file is missing.
      MissingExtraError: openvino is not installed.
      DataError: the files are damaged, or of another model.
    """
    path = Path(path)
    runner = OpenvinoRunner(path, num_threads=num_threads)
    return RawHeadsPredictor(runner.run_heads, config, path=path, mode=mode, resize=resize)

"""Export as OpenVINO IR: raw outputs in float32, float16, bfloat16, and int8 by nncf."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.export.trained_detector import TrainedDetector, check_raw_heads
from efficientdet_pipeline.inference.extras import import_extra
from efficientdet_pipeline.inference.openvino_loader import PRECISION_NOTE, OpenvinoRunner
from tfrmod import fileio

PRECISIONS = ("float32", "float16", "bfloat16", "int8")
_MIN_DECIBELS = {"float32": 60.0, "float16": 20.0, "bfloat16": 10.0, "int8": 3.0}
_PURPOSE = "Writing OpenVINO IR"


def write_openvino(detector: TrainedDetector, path: Path, *, precision: str = "float32") -> dict[str, float]:
    """Writes `path` (.xml) and the weights beside it (.bin), with the inputs and outputs of `onnx_model.write_onnx`.

    Args:
      precision: of the weights in the file, one of `PRECISIONS`; bfloat16: weights in float16, and a note for
        `OpenvinoRunner` to calculate in bfloat16.

    Returns:
      Signal-to-noise ratio in decibels of logits and deltas, on one image.

    Raises:
      MissingExtraError: openvino, or for int8 nncf, is not installed.
      DataError: there are no calibration images for int8, or the files do not reproduce the network's outputs.
    """
    if precision not in PRECISIONS:
        raise OptionsError(f"precision must be one of {', '.join(PRECISIONS)}. Received {precision!r}.")
    openvino = import_extra("openvino", purpose=_PURPOSE)
    samples = detector.calibration_canvases() if precision == "int8" else []
    model = _converted(openvino, detector)
    if samples:
        model = _quantized(model, samples)
    if precision == "bfloat16":
        model.set_rt_info("bf16", list(PRECISION_NOTE))
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / path.name
        openvino.save_model(model, str(made), compress_to_fp16=precision in ("float16", "bfloat16"))
        decibels = check_raw_heads(
            detector, OpenvinoRunner(made).run_heads, min_decibels=_MIN_DECIBELS[precision], what=path.name
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        # The weights first, because a description alone is not a model.
        for suffix in (".bin", ".xml"):
            fileio.write_file(path.with_suffix(suffix), made.with_suffix(suffix).read_bytes())
    return decibels


def _converted(openvino: Any, detector: TrainedDetector) -> Any:
    heads = detector.raw_heads(batch_size=None, dtype="float32")
    model = openvino.convert_model(heads.function)
    model.inputs[0].set_names({"images"})
    for output in model.outputs:
        # Both are (b, a, c): identified by the order of the function's outputs.
        is_logits = output.index == 0 and model.outputs.index(output) == 0
        output.set_names({"logits" if is_logits else "deltas"})
    return model


def _quantized(model: Any, samples: list[np.ndarray]) -> Any:
    nncf = import_extra("nncf", purpose="Quantizing OpenVINO IR to int8")
    dataset = nncf.Dataset(samples, lambda sample: sample)
    return nncf.quantize(
        model, dataset, preset=nncf.QuantizationPreset.MIXED, subset_size=len(samples), fast_bias_correction=True
    )

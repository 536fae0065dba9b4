"""Search for the layers that lose accuracy in int8, and for the smallest set to keep in float."""

import contextlib
import csv
import io
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from efficientdet_pipeline.errors import AccuracyError, DataError, MissingError
from efficientdet_pipeline.export.tflite import debugger_of, int8_converter, put_ends_in_order, without_notes
from efficientdet_pipeline.export.trained_detector import TrainedDetector
from efficientdet_pipeline.inference.image_io import similar_names
from tfrmod import fileio

_LEVELS = 255.0


class LayerRatio(NamedTuple):
    """Accuracy of one layer's output in int8."""

    name: str
    """Name of the tensor, for `write_tflite(float_layers=…)`."""
    operation: str
    decibels: float
    """Ratio of the output's range to the RMS of its error; about 59 if there is only rounding error."""

    @property
    def short_name(self) -> str:
        """The first of the names that the converter merged."""
        return self.name.split(";", maxsplit=1)[0]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Layers to keep in float, and the result."""

    float_layers: tuple[str, ...]
    score: float
    """Score of the search with these layers."""
    num_layers: int
    """Number of layers that int8 can quantize."""

    def write(self, path: Path) -> None:
        """Writes YAML, atomically."""
        content = {"float_layers": list(self.float_layers), "score": self.score, "num_layers": self.num_layers}
        fileio.write_file(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def read_recipe(path: Path) -> Recipe:
    """Returns the recipe of a YAML file.

    Raises:
      MissingError: the file does not exist.
      DataError: it is not a recipe.
    """
    if not path.exists():
        raise MissingError(f"The recipe {path} does not exist.{similar_names(path)} Check --quant_recipe.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        names = tuple(str(name) for name in content["float_layers"])
        return Recipe(float_layers=names, score=float(content["score"]), num_layers=int(content["num_layers"]))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} must be the quantization.yaml of an earlier --quant_debug, with float_layers, score and "
            f"num_layers. It cannot be read: {type(error).__name__}: {error}; name such a file, or leave "
            "--quant_recipe out."
        ) from error


class QuantizationSearch:
    """Calibrates a detector once, and quantizes it with chosen layers in float.

    Args:
      detector: with calibration images.

    Raises:
      DataError: there are no calibration images.
    """

    def __init__(self, detector: TrainedDetector) -> None:
        self._samples = detector.calibration_canvases()
        heads = detector.raw_heads(batch_size=1, dtype="uint8")
        with without_notes(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            self._debugger = debugger_of(int8_converter(heads, self._samples), self._samples)
        self._heads = heads  # Keeps the network alive as long as the converter.
        self._ratios = self._measured()

    def layer_ratios(self) -> list[LayerRatio]:
        """Returns the layers, least accurate first."""
        return self._ratios

    def _measured(self) -> list[LayerRatio]:
        with without_notes(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            self._debugger.run()
        text = io.StringIO()
        self._debugger.layer_statistics_dump(text)
        rows = csv.DictReader(io.StringIO(text.getvalue()))
        ratios = [LayerRatio(row["tensor_name"], row["op_name"], _decibels(row)) for row in rows]
        return sorted(ratios, key=lambda each: each.decibels)

    def quantized(self, float_layers: Sequence[str]) -> bytes:
        """Returns the TFLite file with raw outputs and these layers in float."""
        import tensorflow as tf

        options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=list(float_layers) or None)
        with without_notes(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            with contextlib.suppress(ValueError):
                # It also prepares debugging, which fails if all layers are in float.
                self._debugger.options = options
            return put_ends_in_order(bytes(self._debugger.get_nondebug_quantized_model()))

    def smallest_recipe(
        self, score_of: Callable[[bytes], float], *, min_score: float, max_layers: int | None = None
    ) -> Recipe:
        """Returns the fewest layers in float, least accurate first, with which a score is reached.

        The number is doubled until the score is reached, then bisected, so the search
        quantizes and scores about 2 log2(layers) times.

        Args:
          score_of: from a TFLite file to its score, such as its AP; higher is better.
          min_score: the score to reach.
          max_layers: maximum number of layers in float; None means all.

        Raises:
          AccuracyError: the score is not reached with all of them.
        """
        names = [each.name for each in self.layer_ratios()][:max_layers]
        scores: dict[int, float] = {}

        def score(count: int) -> float:
            if count not in scores:
                scores[count] = float(score_of(self.quantized(names[:count])))
            return scores[count]

        high = 0
        while score(high) < min_score and high < len(names):
            high = min(max(1, 2 * high), len(names))
        if score(high) < min_score:
            raise AccuracyError(
                f"int8 must reach AP {min_score:.4f}. Received {scores[high]:.4f} with the {high} least accurate "
                "layers in "
                "float, the maximum; calibrate on more images, or export float16."
            )
        low = high // 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if score(middle) >= min_score else (middle, high)
        return Recipe(float_layers=tuple(names[:high]), score=scores[high], num_layers=len(names))


def _decibels(row: dict[str, Any]) -> float:
    error, scale = math.sqrt(float(row["mean_squared_error"])), float(row["scale"])
    return 20 * math.log10(_LEVELS * scale / max(error, 1e-30)) if scale > 0 else math.inf

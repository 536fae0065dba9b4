"""Which layers lose accuracy in int8, and the smallest set of them to keep in float."""

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

from efficientdet_pipeline.errors import AccuracyError, DataError
from efficientdet_pipeline.export.tflite import debugger_of, int8_converter, put_ends_in_order
from efficientdet_pipeline.export.trained_detector import TrainedDetector
from tfrmod import fileio

_LEVELS = 255.0


class LayerRatio(NamedTuple):
    """How well int8 represents the output of one layer."""

    name: str
    """Of the tensor, as `write_tflite(float_layers=…)` takes it."""
    operation: str
    decibels: float
    """Range of the output to the root mean square of its error; about 59 where only rounding is lost."""

    @property
    def short_name(self) -> str:
        """The first of the names that the converter joined."""
        return self.name.split(";", maxsplit=1)[0]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Layers to keep in float, and what that was worth."""

    float_layers: tuple[str, ...]
    score: float
    """What the search's measure gave with them."""
    num_layers: int
    """All layers that int8 could quantize."""

    def write(self, path: Path) -> None:
        """Writes YAML, whole or not at all."""
        content = {"float_layers": list(self.float_layers), "score": self.score, "num_layers": self.num_layers}
        fileio.write_file(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def read_recipe(path: Path) -> Recipe:
    """Returns the recipe of a YAML file.

    Raises:
      DataError: it is no recipe.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        names = tuple(str(name) for name in content["float_layers"])
        return Recipe(float_layers=names, score=float(content["score"]), num_layers=int(content["num_layers"]))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} must be a recipe that QuantizationSearch wrote: float_layers, score, num_layers. Reading it "
            f"failed: {error}."
        ) from error


class QuantizationSearch:
    """Calibrates a detector once, and quantizes it with any layers left in float.

    Args:
      detector: with calibration images.

    Raises:
      DataError: there are none.
    """

    def __init__(self, detector: TrainedDetector) -> None:
        self._samples = detector.calibration_canvases()
        heads = detector.raw_heads(batch_size=1, dtype="uint8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            self._debugger = debugger_of(int8_converter(heads, self._samples), self._samples)
        self._heads = heads  # Its network must live as long as the converter.
        self._ratios = self._measured()

    def layer_ratios(self) -> list[LayerRatio]:
        """Returns the layers, those that int8 represents worst first."""
        return self._ratios

    def _measured(self) -> list[LayerRatio]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            self._debugger.run()
        text = io.StringIO()
        self._debugger.layer_statistics_dump(text)
        rows = csv.DictReader(io.StringIO(text.getvalue()))
        ratios = [LayerRatio(row["tensor_name"], row["op_name"], _decibels(row)) for row in rows]
        return sorted(ratios, key=lambda each: each.decibels)

    def quantized(self, float_layers: Sequence[str]) -> bytes:
        """Returns the TFLite file of raw heads with these layers in float."""
        import tensorflow as tf

        options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=list(float_layers) or None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            with contextlib.suppress(ValueError):
                # It also prepares to debug, and finds nothing to debug where all layers are in float.
                self._debugger.options = options
            return put_ends_in_order(bytes(self._debugger.get_nondebug_quantized_model()))

    def smallest_recipe(
        self, score_of: Callable[[bytes], float], *, min_score: float, max_layers: int | None = None
    ) -> Recipe:
        """Returns the fewest layers to keep in float, taken worst first, with which a score is reached.

        The number is doubled until it is, and then halved between; so the search
        quantizes and scores about 2 log2(layers) times.

        Args:
          score_of: from a TFLite file to its score, such as its AP; higher is better.
          min_score: to reach.
          max_layers: that may stay in float; None for all.

        Raises:
          AccuracyError: not even with all of them.
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
                f"int8 must reach {min_score:.4f}. Received {scores[high]:.4f} with the {high} noisiest layers in "
                "float, the most that may be; calibrate on more images, or export float16."
            )
        low = high // 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if score(middle) >= min_score else (middle, high)
        return Recipe(float_layers=tuple(names[:high]), score=scores[high], num_layers=len(names))


def _decibels(row: dict[str, Any]) -> float:
    error, scale = math.sqrt(float(row["mean_squared_error"])), float(row["scale"])
    return 20 * math.log10(_LEVELS * scale / max(error, 1e-30)) if scale > 0 else math.inf

"""Model compression options: pruning, quantization-aware training and weight clustering.

Each option is written briefly (`0.5`, `2:4`, `16`), as pairs
(`sparsity=0.5,schedule=constant`) or a JSON object; the hyperparameter
`model_optimizations` has the same keys.
"""

import dataclasses
import difflib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.schema import Options, Value, option

METHODS = ("prune", "quantize", "cluster")
"""Options of this group, and keys of the hyperparameter model_optimizations."""
INITIALIZATIONS = ("KMEANS_PLUS_PLUS", "LINEAR", "RANDOM", "DENSITY_BASED")
SCHEDULES = ("polynomial", "constant")
SpecT = TypeVar("SpecT")
Plain = str | int | float | bool | None | list["Plain"] | dict[str, "Plain"]
"""A JSON value."""


@dataclass(frozen=True, kw_only=True)
class PruneSpec:
    """Magnitude pruning, with the argument names of tensorflow-model-optimization."""

    sparsity: float = 0.5
    """Final share of zeros: of each kernel that the pattern names; without a pattern, of all kernels together."""
    schedule: str = "polynomial"
    initial_sparsity: float = 0.0
    begin_step: int = 0
    end_step: int | None = None
    """None: half of the training steps."""
    frequency: int | None = None
    """Steps between updates of the masks. None: at most 100, and at least 20 updates."""
    power: float = 3.0
    block_size: tuple[int, int] = (1, 1)
    block_pooling_type: str = "AVG"
    sparsity_m_by_n: tuple[int, int] | None = None
    """(m, n): m zeros in n consecutive input channels, from begin_step on."""
    pattern: str = ""
    """Regular expression, searched in the paths of the kernels. Empty: the largest, without depthwise kernels."""

    def __post_init__(self) -> None:
        _check("prune", 0 <= self.sparsity < 1, "sparsity", self.sparsity, "at least 0 and below 1", "0.5")
        _check("prune", self.schedule in SCHEDULES, "schedule", self.schedule, " or ".join(SCHEDULES), "polynomial")
        _check("prune", 0 <= self.initial_sparsity <= self.sparsity, "initial_sparsity", self.initial_sparsity,
               f"from 0 to sparsity={self.sparsity}", "0")  # fmt: skip
        _check("prune", self.begin_step >= 0, "begin_step", self.begin_step, "0 or more", "0")
        is_after = self.end_step is None or self.end_step > self.begin_step
        _check("prune", is_after, "end_step", self.end_step, f"above begin_step={self.begin_step}", "leave it out")
        _check("prune", self.frequency is None or self.frequency > 0, "frequency", self.frequency, "1 or more", "100")
        _check("prune", min(self.block_size) > 0, "block_size", self.block_size, "two numbers, 1 or more", "1x4")
        kinds = ("AVG", "MAX")
        _check("prune", self.block_pooling_type in kinds, "block_pooling_type", self.block_pooling_type,
               "AVG or MAX", "AVG")  # fmt: skip
        m_by_n = self.sparsity_m_by_n
        is_part = m_by_n is None or 0 < m_by_n[0] < m_by_n[1]
        _check("prune", is_part, "sparsity_m_by_n", m_by_n, "two numbers m:n with m below n", "2:4")
        _check_pattern("prune", self.pattern)


@dataclass(frozen=True, kw_only=True)
class ClusterSpec:
    """Weight clustering, with the names of tensorflow-model-optimization."""

    number_of_clusters: int = 16
    """Different values in each kernel."""
    cluster_centroids_init: str = "KMEANS_PLUS_PLUS"
    preserve_sparsity: bool = True
    """Whether kernels of which a tenth or more is zero keep their zeros."""
    pattern: str = ""

    def __post_init__(self) -> None:
        count = self.number_of_clusters
        _check("cluster", 3 <= count <= 4096, "number_of_clusters", count, "3 to 4096", "16")
        _check("cluster", self.cluster_centroids_init in INITIALIZATIONS, "cluster_centroids_init",
               self.cluster_centroids_init, ", ".join(INITIALIZATIONS), INITIALIZATIONS[0])  # fmt: skip
        _check_pattern("cluster", self.pattern)


@dataclass(frozen=True, kw_only=True)
class QuantizeSpec:
    """Quantization-aware training."""

    observe_epochs: float = 0.5
    """Epochs in which the ranges of activations move; they are fixed afterwards. Below 1: a share of the training."""
    ema_decay: float = 0.99
    """Decay of the moving ranges; smaller in the first steps."""
    preserve_sparsity: bool = True
    """Whether kernels of which a tenth or more is zero keep their zeros."""

    def __post_init__(self) -> None:
        _check("quantize", self.observe_epochs > 0, "observe_epochs", self.observe_epochs, "above 0", "0.5")
        _check("quantize", 0 <= self.ema_decay < 1, "ema_decay", self.ema_decay, "at least 0 and below 1", "0.99")


def _check(method: str, holds: bool, key: str, received: object, expected: str, advice: str) -> None:
    if not holds:
        raise OptionsError(
            f"{key} must be {expected}. Received {received!r} (--{method}); try {advice}.", option=method
        )


def _check_pattern(method: str, pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise OptionsError(
            f"pattern must be a regular expression. Received {pattern!r} (--{method}): {error}; try 'neck/', which "
            "matches the kernels of the neck.",
            option=method,
        ) from None


@dataclass(frozen=True, kw_only=True)
class CompressionOptions(Options):
    """Model compression."""

    prune: str = option(
        "",
        "Prune weights by magnitude while training: 0.5 for half of all weights, 2:4 for two zeros in four input "
        "channels, or pairs such as sparsity=0.7,schedule=constant,begin_step=100,pattern=neck/. Without a pattern, "
        "the large kernels are pruned; depthwise and small ones stay whole. docs/compression.md lists the keys. Start "
        "from trained weights. TensorFlow only.",
        bare=True,
    )
    quantize: str = option(
        "",
        "Quantization-aware training for int8: weights and activations are rounded as in int8 TFLite, to which the "
        "network is then exported with the learnt ranges. Pairs such as observe_epochs=5 are optional. Start from "
        "trained weights. TensorFlow, float32.",
        bare=True,
    )
    cluster: str = option(
        "",
        "Cluster weights while training: number of distinct values in each kernel, for example 16, or pairs such as "
        "number_of_clusters=16,cluster_centroids_init=LINEAR. Files compress better. Start from trained weights. "
        "TensorFlow only.",
        bare=True,
    )

    def __post_init__(self) -> None:
        """Checks keys and values."""
        super().__post_init__()
        specs = [self.prune_spec(), self.quantize_spec(), self.cluster_spec()]
        if specs[0] is not None and specs[2] is not None:
            raise OptionsError(
                "prune and cluster in one training move each other's weights. Received --prune with --cluster; prune "
                "first, then start a second training with --cluster from that checkpoint (it keeps the zeros).",
                option="cluster",
            )
        if specs[1] is not None and specs[2] is not None:
            raise OptionsError(
                "quantize and cluster cannot be combined in one training. Received both; train with one of them.",
                option="cluster",
            )

    def prune_spec(self) -> PruneSpec | None:
        """Returns the value of --prune; None if it is not set."""
        return _spec("prune", self.prune, PruneSpec, _brief_prune)

    def quantize_spec(self) -> QuantizeSpec | None:
        """Returns the value of --quantize; None if it is not set."""
        return _spec("quantize", self.quantize, QuantizeSpec, lambda text: None)

    def cluster_spec(self) -> ClusterSpec | None:
        """Returns the value of --cluster; None if it is not set."""
        return _spec("cluster", self.cluster, ClusterSpec, _brief_cluster)

    @property
    def asked_for(self) -> dict[str, str]:
        """Returns the options that are set, as part of a run's identity."""
        values = {"prune": self.prune, "quantize": self.quantize, "cluster": self.cluster}
        return {name: value for name, value in values.items() if value not in ("", "false")}

    @classmethod
    def implied(cls, given: Mapping[str, Value]) -> dict[str, dict[str, Value]]:
        """Returns the precision of quantization-aware training."""
        return {"quantize": {"precision": "float32"}} if given.get("quantize") not in (None, "", "false") else {}


def optimizations_as_options(value: object) -> dict[str, str]:
    """Returns the hyperparameter model_optimizations as values of the options.

    >>> optimizations_as_options({"prune": {"sparsity": 0.7}, "quantize": {}})
    {'prune': '{"sparsity": 0.7}', 'quantize': 'true'}

    Raises:
      OptionsError: it is not a mapping from methods to their keys.
    """
    known = ", ".join(METHODS)
    if not isinstance(value, Mapping) or not all(isinstance(keys, Mapping | None) for keys in value.values()):
        raise OptionsError(
            f"model_optimizations must map {known} to their keys. Received {value!r}; try "
            "model_optimizations.prune.sparsity=0.5.",
            option="hparams",
        )
    unknown = [name for name in value if name not in METHODS]
    if unknown:
        raise _refused(f"model_optimizations must be of {known}", unknown[0], METHODS, "hparams")
    return {name: json.dumps(dict(keys)) if keys else "true" for name, keys in value.items()}


def _spec(method: str, text: str, kind: type[SpecT], brief: Callable[[str], dict[str, Plain] | None]) -> SpecT | None:
    text = text.strip()
    if text in ("", "false"):
        return None
    given = {} if text == "true" else brief(text)
    if given is None:
        given = _pairs(method, text)
    given = _in_our_words(method, given)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = [key for key in given if key not in fields]
    if unknown:
        also = ("pruning_schedule", *_SAME) if "schedule" in fields else ()
        raise _refused(f"{method} must have the keys {', '.join(fields)}", unknown[0], [*fields, *also], method)
    values = {key: _converted(method, key, value, fields[key].type) for key, value in given.items()}
    return kind(**values)


def _brief_prune(text: str) -> dict[str, Plain] | None:
    if re.fullmatch(r"\d+:\d+", text):
        return {"sparsity_m_by_n": text}
    return {"sparsity": text} if re.fullmatch(r"[\d.]+", text) else None


def _brief_cluster(text: str) -> dict[str, Plain] | None:
    return {"number_of_clusters": text} if text.isdecimal() else None


def _pairs(method: str, text: str) -> dict[str, Plain]:
    if text.startswith("{"):
        try:
            return dict(json.loads(text))
        except ValueError as error:
            raise OptionsError(f"{method} must be JSON if it starts with a brace: {error}.", option=method) from None
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not all(separator for _, separator, _ in pairs):
        raise OptionsError(
            f"{method} must be pairs such as key=value,key=value, or a JSON object. Received {text!r}.", option=method
        )
    return {key.strip(): value.strip() for key, _, value in pairs}


def _refused(rule: str, name: object, known: Sequence[str], source: str) -> OptionsError:
    near = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=0.5)
    advice = f"did you mean {near[0]}?" if near else "docs/compression.md describes them."
    return OptionsError(f"{rule}. Received {name!r}; {advice}", option=source)


_SAME = {"target_sparsity": "sparsity", "final_sparsity": "sparsity"}
_CLASSES = {"PolynomialDecay": "polynomial", "ConstantSparsity": "constant"}


def _in_our_words(method: str, given: Mapping[str, Plain]) -> dict[str, Plain]:
    """Returns flat keys; tensorflow-model-optimization nests those of a schedule in a config."""
    flat = dict(given)
    nested = flat.pop("pruning_schedule", None)
    if nested is not None:
        if not isinstance(nested, dict) or nested.get("class_name") not in _CLASSES:
            raise OptionsError(
                f"pruning_schedule must have a class_name of {', '.join(_CLASSES)}, and its config. Received "
                f"{nested!r} (--{method}).",
                option=method,
            )
        config = nested.get("config")
        flat |= {"schedule": _CLASSES[str(nested["class_name"])], **(config if isinstance(config, dict) else {})}
        if flat.get("end_step") == -1:
            flat.pop("end_step")
    return {_SAME.get(key, key): value for key, value in flat.items() if value is not None}


def _converted(method: str, key: str, value: Plain, kind: object) -> object:
    """Returns a value converted to the type of its field.

    Raises:
      OptionsError: it cannot be converted.
    """
    name = str(kind)
    try:
        if "tuple" in name:
            parts = value if isinstance(value, list) else re.split(r"[x:*]", str(value))
            first, second = (int(str(part)) for part in parts)
            return first, second
        if "bool" in name:
            return {"true": True, "false": False}[str(value).lower()]
        if "int" in name:
            return int(str(value))
        return float(str(value)) if "float" in name else str(value)
    except (ValueError, KeyError):
        expected = "two whole numbers such as 2:4" if "tuple" in name else name.partition("'")[2].rstrip("'>") or name
        raise OptionsError(f"{key} must be {expected}. Received {value!r} (--{method}).", option=method) from None

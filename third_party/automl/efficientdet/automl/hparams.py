"""Hyper-parameters of automl: their 77 names, defaults and types, one addition, and a parser of the written forms.

A hyper-parameter belongs to the *network* (it changes what a checkpoint
computes, and is a field of `DetectorConfig`) or to a *run* (it changes training
or evaluation, and is the default of a pipeline option).

Written forms, all read by `parse_hparams`:

* a string of pairs: ``image_size=512x640,nms_configs.method=hard``;
* a YAML file, by its path;
* a mapping.
"""

import ast
import copy
import difflib
import math
import os
import re
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

NETWORK: Literal["network"] = "network"
RUN: Literal["run"] = "run"

# A Python string, raw or not: users of automl write r'...' for regular expressions.
_QUOTE = re.compile(r"[rRuU]?['\"]")
_PREFIX = re.compile(r"(?:^|[^\w])[rRuU]\Z")

Size = int | str | tuple[int, int]
"""A square's side, "WIDTHxHEIGHT", or (height, width); in pixels."""


@dataclass(frozen=True, kw_only=True)
class Hparam:
    """Default, type and owner of a hyper-parameter."""

    default: Any
    kind: Any
    """A Python type, or a union of types, of valid values."""
    owner: Literal["network", "run"]
    """Whether it is a field of the network's config or an option of a run."""


def _network(default: Any, kind: Any) -> Hparam:
    return Hparam(default=default, kind=kind, owner=NETWORK)


def _run(default: Any, kind: Any) -> Hparam:
    return Hparam(default=default, kind=kind, owner=RUN)


NMS_HPARAMS: dict[str, Hparam] = {
    "method": _network("gaussian", str),
    "iou_thresh": _network(None, float | None),
    "score_thresh": _network(0.0, float | None),
    "sigma": _network(None, float | None),
    "pyfunc": _network(False, bool),
    "max_nms_inputs": _network(0, int),
    "max_output_size": _network(100, int),
}
"""Keys inside `nms_configs`."""

HPARAMS: dict[str, Hparam] = {
    "name": _network("efficientdet-d1", str),
    "act_type": _network("swish", str),
    "image_size": _network(640, Size),
    "resize": _network("letterbox", str),  # Not in automl, which always letterboxes.
    "target_size": _run(None, Size | None),
    "input_rand_hflip": _run(True, bool),
    "jitter_min": _run(0.1, float),
    "jitter_max": _run(2.0, float),
    "autoaugment_policy": _run(None, str | None),
    "grid_mask": _run(False, bool),
    "sample_image": _run(None, str | None),
    "map_freq": _run(5, int),
    "num_classes": _network(90, int),
    "seg_num_classes": _network(3, int),
    "heads": _network(["object_detection"], list[str]),
    "skip_crowd_during_training": _run(True, bool),
    "label_map": _run(None, dict | str | None),
    "max_instances_per_image": _run(100, int | None),
    "regenerate_source_id": _run(False, bool),
    "min_level": _network(3, int),
    "max_level": _network(7, int),
    "num_scales": _network(3, int),
    "aspect_ratios": _network([1.0, 2.0, 0.5], list[float | list[float]]),
    "anchor_scale": _network(4.0, float | list[float]),
    "is_training_bn": _run(True, bool),
    "momentum": _run(0.9, float),
    "optimizer": _run("sgd", str),
    "learning_rate": _run(0.08, float),
    "lr_warmup_init": _run(0.008, float),
    "lr_warmup_epoch": _run(1.0, float),
    "first_lr_drop_epoch": _run(200.0, float),
    "second_lr_drop_epoch": _run(250.0, float),
    "poly_lr_power": _run(0.9, float),
    "clip_gradients_norm": _run(10.0, float | None),
    "num_epochs": _run(300, int),
    "data_format": _network("channels_last", str),
    "mean_rgb": _network([0.485 * 255, 0.456 * 255, 0.406 * 255], float | list[float]),
    "stddev_rgb": _network([0.229 * 255, 0.224 * 255, 0.225 * 255], float | list[float]),
    "scale_range": _network(False, bool),
    "label_smoothing": _run(0.0, float),
    "alpha": _run(0.25, float),
    "gamma": _run(1.5, float),
    "delta": _run(0.1, float),
    "box_loss_weight": _run(50.0, float),
    "iou_loss_type": _run(None, str | None),
    "iou_loss_weight": _run(1.0, float),
    "weight_decay": _run(4e-5, float),
    "strategy": _run(None, str | None),
    "mixed_precision": _run(False, bool),
    "loss_scale": _run(None, float | None),
    "box_class_repeats": _network(3, int),
    "fpn_cell_repeats": _network(3, int),
    "fpn_num_filters": _network(88, int),
    "separable_conv": _network(True, bool),
    "apply_bn_for_resampling": _network(True, bool),
    "conv_after_downsample": _network(False, bool),
    "conv_bn_act_pattern": _network(False, bool),
    "drop_remainder": _run(True, bool),
    "nms_configs": _network({key: hparam.default for key, hparam in NMS_HPARAMS.items()}, dict),
    "tflite_max_detections": _run(100, int),
    "fpn_name": _network(None, str | None),
    "fpn_weight_method": _network(None, str | None),
    "fpn_config": _network(None, dict | None),
    "survival_prob": _network(None, float | None),
    "img_summary_steps": _run(None, int | None),
    "lr_decay_method": _run("cosine", str),
    "moving_average_decay": _run(0.9998, float | None),
    "ckpt_var_scope": _run(None, str | None),
    "skip_mismatch": _run(True, bool),
    "backbone_name": _network("efficientnet-b1", str),
    "backbone_config": _network(None, dict | None),
    "var_freeze_expr": _run(None, str | None),
    "use_keras_model": _run(True, bool),
    "dataset_type": _run(None, str | None),
    "positives_momentum": _run(None, float | None),
    "grad_checkpoint": _run(False, bool | str),
    "verbose": _run(1, int | bool),
    "save_freq": _run("epoch", int | str),
}

TF2_RECORD_KEYS = frozenset(
    "profile model_name steps_per_execution model_dir steps_per_epoch batch_size tf_random_seed debug val_json_file"
    " eval_samples num_shards".split()
)
"""Keys of a run, not hyper-parameters, which automl's TF2 trainer adds to the config.yaml it writes."""


def _detector(
    number: int | str, backbone: str, image_size: int, filters: int, **more: Any
) -> tuple[str, dict[str, Any]]:
    name = f"efficientdet-{number}"
    sizes = {"backbone_name": f"efficientnet-{backbone}", "image_size": image_size, "fpn_num_filters": filters}
    return name, {"name": name, **sizes, **more}


def _lite(number: str, backbone: str, image_size: int, filters: int, **more: Any) -> tuple[str, dict[str, Any]]:
    lite = {"mean_rgb": 127.0, "stddev_rgb": 128.0, "act_type": "relu6", "fpn_weight_method": "sum"}
    return _detector(number, backbone, image_size, filters, **lite, **more)


def _depth(fpn_cells: int, head: int) -> dict[str, int]:
    return {"fpn_cell_repeats": fpn_cells, "box_class_repeats": head}


MODELS: dict[str, dict[str, Any]] = dict(
    [
        _detector("d0", "b0", 512, 64, **_depth(3, 3)),
        _detector("d1", "b1", 640, 88, **_depth(4, 3)),
        _detector("d2", "b2", 768, 112, **_depth(5, 3)),
        _detector("d3", "b3", 896, 160, **_depth(6, 4)),
        _detector("d4", "b4", 1024, 224, **_depth(7, 4)),
        _detector("d5", "b5", 1280, 288, **_depth(7, 4)),
        _detector("d6", "b6", 1280, 384, **_depth(8, 5), fpn_weight_method="sum"),
        _detector("d7", "b6", 1536, 384, **_depth(8, 5), fpn_weight_method="sum", anchor_scale=5.0),
        _detector("d7x", "b7", 1536, 384, **_depth(8, 5), fpn_weight_method="sum", anchor_scale=4.0, max_level=8),
        _lite("lite0", "lite0", 320, 64, **_depth(3, 3), anchor_scale=3.0),
        _lite("lite1", "lite1", 384, 88, **_depth(4, 3), anchor_scale=3.0),
        _lite("lite2", "lite2", 448, 112, **_depth(5, 3), anchor_scale=3.0),
        _lite("lite3", "lite3", 512, 160, **_depth(6, 4)),
        _lite("lite3x", "lite3", 640, 200, **_depth(6, 4), anchor_scale=3.0),
        _lite("lite4", "lite4", 640, 224, **_depth(7, 4)),
    ]
)
"""Defaults that each published model overrides."""


def model_hparams(name: str) -> dict[str, Any]:
    """Returns all 77 hyper-parameters of a published model.

    Args:
      name: one of `MODELS`, for example efficientdet-d0.

    Raises:
      ValueError: the name is not in `MODELS`.
    """
    if name not in MODELS:
        raise ValueError(unknown_name("model", name, MODELS))
    # The resize method is a key of our own.
    defaults = {key: hparam.default for key, hparam in HPARAMS.items() if key != "resize"}
    return copy.deepcopy({**defaults, **MODELS[name]})


def unknown_name(what: str, name: Any, known: Iterable[str], also: Iterable[str] = ()) -> str:
    """Returns the error message for an unknown name, with the nearest of `known` and `also`, or else all of `known`."""
    names = list(dict.fromkeys(known))
    nearest = difflib.get_close_matches(str(name).lower(), dict.fromkeys([*names, *also]), n=3, cutoff=0.6)
    advice = f"Did you mean {' or '.join(nearest)}?" if nearest else f"Known: {', '.join(names)}."
    return f"Unknown {what} {name!r}. {advice}"


def parse_hparams(
    source: str | os.PathLike[str] | Mapping[str, Any] | None, *, more: Collection[str] = ()
) -> dict[str, Any]:
    """Returns the hyper-parameters in a source, with names and types checked.

    Only the given keys are returned; `nms_configs` may thus be partial.

    In a string, pairs are separated by commas outside brackets and quotes, a
    value is a Python literal (`true`, `false` and `[a,b]` too) or else text, `1*2*3` is
    a list, and `nms_configs.method=hard` sets a nested key.

    Args:
      source: a string of pairs, the path of a .yaml file, a mapping, or None.
      more: further valid keys, such as the options of a program; their values
        are returned unchanged. If empty, the keys of `TF2_RECORD_KEYS` in a
        YAML file are ignored.

    Raises:
      ValueError: an unknown key or a value of the wrong type; the message
        names the key, the value, its origin, and the nearest known key.
      FileNotFoundError: the YAML file does not exist.

    >>> parse_hparams("num_classes=20,anchor_scale=1*2*4,nms_configs.sigma=0.3")
    {'num_classes': 20, 'anchor_scale': [1.0, 2.0, 4.0], 'nms_configs': {'sigma': 0.3}}
    """
    if source is None or source == "":
        return {}
    if isinstance(source, Mapping):
        return _checked(source, "the mapping of hparams")
    if isinstance(source, os.PathLike) or _is_yaml_path(source):
        from efficientdet.hparams_yaml import read_hparams_yaml  # lazy, so that `--help` does not import PyYAML

        written = read_hparams_yaml(Path(source))
        # automl's TF2 trainer adds keys of the run to the config.yaml it writes.
        dropped = TF2_RECORD_KEYS.difference(more)
        return _checked({key: written[key] for key in written if key not in dropped}, str(source), more=more)
    if isinstance(source, str) and ("=" in source or not source.strip(" ,")):
        return _checked(_parse_pairs(source), f"hparams {_shown(source)}", more=more)
    raise ValueError(
        f"hparams must be pairs such as num_classes=20,image_size=512x640, the path of a .yaml file, or a mapping. "
        f"Received {source!r}."
    )


def _is_yaml_path(source: str) -> bool:
    is_named_so = isinstance(source, str) and source.endswith((".yaml", ".yml"))
    return is_named_so and ("=" not in source or Path(source).is_file())


def _checked(
    written: Mapping[str, Any],
    whence: str,
    table: Mapping[str, Hparam] = HPARAMS,
    scope: str = "",
    more: Collection[str] = (),
) -> dict[str, Any]:
    """Returns the given values, all keys known and all values converted to their type."""
    values = {}
    for key, value in written.items():
        if key in more and key not in table:
            values[key] = value
            continue
        if key not in table:
            known = [scope + name for name in table]
            raise ValueError(f"{unknown_name('hparam', f'{scope}{key}', known, more)} It was given in {whence}.")
        if table is HPARAMS and key == "nms_configs" and isinstance(value, Mapping):
            values[key] = _checked(value, whence, NMS_HPARAMS, "nms_configs.")
            continue
        kind = table[key].kind
        try:
            values[key] = _fitted(value, kind)
        except TypeError:
            raise ValueError(
                f"{scope}{key} must be {_kind_in_words(kind)}. Received {scope}{key}={_shown(value)} ({whence})."
            ) from None
    return values


def _fitted(value: Any, kind: Any) -> Any:
    """Returns the value converted to its type; raises TypeError if it has another type."""
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    for one in kinds:
        try:
            return _fitted_to_one(value, one)
        except TypeError:
            continue
    for one in kinds:
        # As in automl, heads=segmentation is valid, though the type is a list.
        if typing.get_origin(one) is list and not isinstance(value, (list, tuple, Mapping)):
            return [_fitted(value, typing.get_args(one)[0])]
    if isinstance(value, str) and (literal := _literal(value)) is not value and not isinstance(literal, str):
        # YAML 1.1 reads 1e-4 as text.
        return _fitted(literal, kind)
    raise TypeError


def _fitted_to_one(value: Any, kind: Any) -> Any:
    if typing.get_origin(kind) is list and isinstance(value, (list, tuple)):
        return [_fitted(item, typing.get_args(kind)[0]) for item in value]
    if typing.get_origin(kind) is tuple and isinstance(value, (list, tuple)) and len(value) == 2:
        return tuple(_fitted_to_one(item, part) for item, part in zip(value, typing.get_args(kind), strict=True))
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # No network or run has values beyond 64 bits.
    if is_number and isinstance(value, int) and abs(value) >= 2**63:
        raise TypeError
    if kind is int and is_number and math.isfinite(value) and value == int(value):
        return int(value)
    if kind is float and is_number and not math.isnan(value):
        return float(value)
    if kind in (bool, str, types.NoneType) and isinstance(value, kind):
        return value
    if kind is dict and isinstance(value, Mapping):
        return dict(value)
    raise TypeError


def _kind_in_words(kind: Any) -> str:
    words = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a string",
        dict: "a mapping",
        types.NoneType: "None",
    }
    if kind == Size or kind == Size | None:
        return "a whole number, WIDTHxHEIGHT, or (height, width)" + (" or None" if kind != Size else "")
    if isinstance(kind, types.UnionType):
        return " or ".join(_kind_in_words(one) for one in typing.get_args(kind))
    if typing.get_origin(kind) is list:
        return f"a list, each item {_kind_in_words(typing.get_args(kind)[0])}"
    return words[kind]


def _parse_pairs(text: str) -> dict[str, Any]:
    """Returns `a=1,b.c=2` as a nested dict."""
    values: dict[str, Any] = {}
    for item in split_outside_brackets(text):
        key, equals, value = item.partition("=")
        if not equals:
            raise ValueError(
                f"Each hparam must be written key=value. Received {item!r} in hparams {_shown(text)}; "
                f"put a string that contains a comma in quotes."
            )
        *outer, leaf = (part.strip() for part in key.split("."))
        inner = values
        for part in outer:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise ValueError(f"{part} is given both as a whole and by key in hparams {_shown(text)}.")
        if leaf in inner:
            raise ValueError(f"{key.strip()} is given twice in hparams {_shown(text)}; leave one of them out.")
        inner[leaf] = _value(value.strip(), is_text=not outer and _is_text(leaf))
    return values


def _is_text(key: str) -> bool:
    """Returns whether a key's value is a string, in which `*` does not separate items."""
    kind = HPARAMS[key].kind if key in HPARAMS else None
    return kind in (str, str | None)


def split_outside_brackets(text: str) -> list[str]:
    """Returns the parts between commas that are outside brackets and quotes."""
    parts, part, depth, quote = [], "", 0, ""
    for position, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        # An apostrophe inside a word is not a quote; the r of r'...' is not a word.
        elif letter in "'\"" and (not text[position - 1 : position].isalnum() or _PREFIX.search(text[:position])):
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        elif letter == "," and depth == 0:
            parts.append(part.strip())
            part = ""
            continue
        part += letter
    if quote or depth:
        raise ValueError(f"Brackets and quotes must be closed. Received hparams {_shown(text)}.")
    return [part for part in [*parts, part.strip()] if part]


def _value(text: str, *, is_text: bool = False) -> Any:
    is_enclosed = _QUOTE.match(text) or text.startswith(("[", "(", "{"))
    if "*" in text and not is_text and not is_enclosed and all(factors := text.split("*")):
        return [_literal(factor.strip()) for factor in factors]
    return _literal(text)


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 2**63 else "a number of more than 64 bits"
    return text if len(text) <= 200 else f"{text[:200]}…"


class _UnquotedWords(ast.NodeTransformer):
    """Replaces what YAML writes without quotes: true and false, in brackets too, and words of a list."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(node.id == "true") if node.id in ("true", "false") else node

    def visit_List(self, node: ast.List) -> ast.AST:
        self.generic_visit(node)
        return ast.List([ast.Constant(item.id) if isinstance(item, ast.Name) else item for item in node.elts])


def _literal(text: str) -> Any:
    """Returns the Python value of a literal, or the text itself."""
    try:
        return ast.literal_eval(_UnquotedWords().visit(ast.parse(text, mode="eval")))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text

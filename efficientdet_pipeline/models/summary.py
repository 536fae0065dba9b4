"""Summary of a detector by level, and its weights by layer."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import keras
import numpy as np
from efficientdet.anchors import pyramid_sizes
from efficientdet.model import Detector


class LevelSummary(NamedTuple):
    """One level of one part of a detector."""

    part: str
    """backbone, neck, class_head, box_head or mask_head."""
    level: int | None
    """Level of the feature map; None for parts that all levels share."""
    size: tuple[int, int] | None
    """(height, width) of the feature map for an image of the config's size."""
    channels: int
    parameters: int
    """Number of parameters of this level, moving statistics included."""
    layers: int
    """Blocks of the backbone, nodes of the neck, convolutions of a head."""


class WeightSummary(NamedTuple):
    """One weight."""

    layer: str
    """Path of the layer, such as backbone/block_3/expand_conv."""
    name: str
    shape: tuple[int, ...]
    is_trainable: bool
    mean: float
    std: float


def summarize_levels(model: Detector) -> list[LevelSummary]:
    """Returns the parts of a detector by level; the parameters of all rows add up to the model's.

    Backbone blocks belong to the level of their output, and the stem to level 1. A
    neck's nodes belong to their level. Heads share their convolutions between
    levels, and have separate normalizations for each.
    """
    rows = [*_backbone_rows(model), *_neck_rows(model)]
    sizes = _sizes(model)
    for part in ("class_head", "box_head"):
        head = getattr(model, part)
        if head is None:
            continue
        own = {level: _count(norms[str(level)] for norms in head.norms) for level in model.config.levels}
        shared = head.count_params() - sum(own.values())
        channels = head.predict.weights[-1].shape[0]
        rows.append(LevelSummary(part, None, None, channels, shared, len(head.convs) + 1))
        rows += [LevelSummary(part, level, sizes[level], channels, count, 0) for level, count in own.items()]
    if model.mask_head is not None:
        height, width = sizes[model.config.min_level]
        channels = model.config.seg_num_classes
        count = model.mask_head.count_params()
        rows.append(LevelSummary("mask_head", None, (2 * height, 2 * width), channels, count, len(model.config.levels)))
    return rows


def _sizes(model: Detector) -> dict[int, tuple[int, int]]:
    return pyramid_sizes(model.config.image_size, 0, max(model.config.max_level, 5))


def _backbone_rows(model: Detector) -> Iterator[LevelSummary]:
    backbone, sizes = model.backbone, _sizes(model)
    start = 0
    for level, last in enumerate(backbone.last_blocks(), start=1):
        blocks = backbone.blocks[start : last + 1]
        count = _count(blocks) + (_count([backbone.stem_conv, backbone.stem_norm]) if level == 1 else 0)
        yield LevelSummary("backbone", level, sizes[level], backbone.channels[level], count, len(blocks))
        start = last + 1


def _neck_rows(model: Detector) -> list[LevelSummary]:
    """Returns the parts of each level of the neck; parts that cannot be assigned to a level form one row."""
    neck, sizes, filters = model.neck, _sizes(model), model.config.fpn_num_filters
    counts = dict.fromkeys(model.config.levels, 0)
    nodes = dict.fromkeys(model.config.levels, 0)
    for level, resample in neck.extra_levels.items():
        counts[int(level)] += resample.count_params()
    for cell in neck.cells:
        for node in getattr(cell, "nodes", ()):
            counts[node.node.level] += node.count_params()
            nodes[node.node.level] += 1
    rows = [LevelSummary("neck", level, sizes[level], filters, counts[level], nodes[level]) for level in counts]
    shared = neck.count_params() - sum(counts.values())
    return [*rows, LevelSummary("neck", None, None, filters, shared, 0)] if shared else rows


def _count(layers: Iterable[keras.layers.Layer]) -> int:
    return sum(layer.count_params() for layer in layers)


def level_table(model: Detector) -> str:
    """Returns `summarize_levels` as text for a terminal or a notebook."""
    rows = summarize_levels(model)
    lines = [f"{'part':<12}{'level':>6}{'size':>12}{'channels':>10}{'layers':>8}{'parameters':>14}"]
    for row in rows:
        size = f"{row.size[0]} x {row.size[1]}" if row.size else ""
        level = "all" if row.level is None else f"P{row.level}"
        lines.append(f"{row.part:<12}{level:>6}{size:>12}{row.channels:>10}{row.layers:>8}{row.parameters:>14,}")
    lines.append(f"{'all':<12}{'':>6}{'':>12}{'':>10}{'':>8}{sum(row.parameters for row in rows):>14,}")
    return "\n".join(lines)


def list_weights(model: keras.layers.Layer) -> list[WeightSummary]:
    """Returns every weight of a model, or of a layer, by the path of its layer, in the order of the layers."""
    return list(_weights(model, ""))


def _weights(layer: keras.layers.Layer, scope: str) -> Iterator[WeightSummary]:
    inner_layers = list(layer._flatten_layers(include_self=False, recursive=False))
    of_inner = {id(weight) for inner in inner_layers for weight in inner.weights}
    for weight in layer.weights:
        if id(weight) not in of_inner:
            values = keras.ops.convert_to_numpy(weight).astype(np.float64)
            mean, std = float(values.mean()), float(values.std())
            yield WeightSummary(scope.rstrip("/"), weight.name, tuple(weight.shape), weight.trainable, mean, std)
    for inner in inner_layers:
        yield from _weights(inner, f"{scope}{inner.name}/")


def weight_table(model: keras.layers.Layer, *, contains: str = "") -> str:
    """Returns `list_weights` as text, limited to layers whose path contains `contains`."""
    lines = [f"{'layer':<52}{'weight':<22}{'shape':<20}{'trainable':<11}{'mean':>10}{'std':>10}"]
    for layer, name, shape, is_trainable, mean, std in list_weights(model):
        if contains in layer:
            state = "yes" if is_trainable else "no"
            lines.append(f"{layer:<52}{name:<22}{'x'.join(map(str, shape)):<20}{state:<11}{mean:>10.4f}{std:>10.4f}")
    return "\n".join(lines)

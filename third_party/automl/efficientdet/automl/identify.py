"""Identification of automl's models from the names and shapes in a checkpoint, for error messages."""

import re
from collections.abc import Collection, Mapping
from functools import cache
from typing import NamedTuple

from efficientdet.automl.hparams import MODELS, model_hparams
from efficientdet.backbones.stages import block_specs
from efficientdet.checkpoint.reader import Shape


class Traits(NamedTuple):
    """Properties that distinguish models; None if the checkpoint does not determine them."""

    num_blocks: int | None
    has_squeeze_excite: bool | None
    num_cells: int | None
    num_filters: int | None
    num_repeats: int | None


# Each pattern matches the notations of TF1 and h5, of TF2, and of our own files.
_BLOCK = re.compile(r"blocks[_/](?:mb_conv_)?(\d+)")
_SQUEEZE_EXCITE = re.compile(r"/_?se/|/squeeze_excite/")
_CELL = re.compile(r"cells/(?:cell_)?(\d+)/")
_REPEAT = re.compile(r"class_net/(?:class-|conv_ops/)(\d+)/|class_head/convs/separable_conv2d_(\d+)/")
_FIRST_REPEAT = re.compile(
    r"class_net/(?:class-|conv_ops/)0/(?:pointwise_)?kernel|class_head/convs/separable_conv2d/vars/1"
)


def likely_models(shapes: Mapping[str, Shape]) -> list[str]:
    """Returns the names of automl's models, or of backbones, whose traits match the checkpoint."""
    found = traits_of(shapes)
    if found.num_cells is None:
        return sorted({match[1] for key in shapes if (match := re.match(r"(efficientnet-[^/]+)/", key))})
    agrees = [
        name
        for name in MODELS
        if all(have is None or have == want for have, want in zip(found, _traits_of_model(name), strict=True))
    ]
    return agrees


def detectors_of(backbones: Collection[str]) -> list[str]:
    """Returns the names of automl's models that have one of these backbones."""
    return [name for name in MODELS if model_hparams(name)["backbone_name"] in backbones]


def backbone_of(model: str) -> str:
    """Returns the backbone name of one of automl's models."""
    return str(model_hparams(model)["backbone_name"])


def traits_of(shapes: Mapping[str, Shape]) -> Traits:
    """Returns the traits that a checkpoint's keys and shapes determine."""
    num_blocks = _count(_BLOCK, shapes)
    filters = [shape[-1] for key, shape in shapes.items() if shape and _FIRST_REPEAT.fullmatch(key)]
    return Traits(
        num_blocks=num_blocks,
        has_squeeze_excite=any(map(_SQUEEZE_EXCITE.search, shapes)) if num_blocks else None,
        num_cells=_count(_CELL, shapes),
        num_filters=filters[0] if filters else None,
        num_repeats=_count(_REPEAT, shapes),
    )


def _count(pattern: re.Pattern[str], shapes: Mapping[str, Shape]) -> int | None:
    numbers = [int(next(filter(None, match.groups()))) for key in shapes if (match := pattern.search(key))]
    return max(numbers) + 1 if numbers else None


@cache
def _traits_of_model(name: str) -> Traits:
    hparams = model_hparams(name)
    specs = block_specs(hparams["backbone_name"])
    return Traits(
        num_blocks=len(specs),
        has_squeeze_excite=any(spec.se_ratio for spec in specs),
        num_cells=hparams["fpn_cell_repeats"],
        num_filters=hparams["fpn_num_filters"],
        num_repeats=hparams["box_class_repeats"],
    )

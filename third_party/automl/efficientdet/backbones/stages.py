"""EfficientNet stages and blocks as plain data: their notation, and compound scaling.

This module does not import Keras, so that a config can check its stages without it.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

SCALES: dict[str, tuple[float, float]] = {
    "efficientnet-b0": (1.0, 1.0),
    "efficientnet-b1": (1.0, 1.1),
    "efficientnet-b2": (1.1, 1.2),
    "efficientnet-b3": (1.2, 1.4),
    "efficientnet-b4": (1.4, 1.8),
    "efficientnet-b5": (1.6, 2.2),
    "efficientnet-b6": (1.8, 2.6),
    "efficientnet-b7": (2.0, 3.1),
    "efficientnet-b8": (2.2, 3.6),
    "efficientnet-l2": (4.3, 5.3),
    "efficientnet-lite0": (1.0, 1.0),
    "efficientnet-lite1": (1.0, 1.1),
    "efficientnet-lite2": (1.1, 1.2),
    "efficientnet-lite3": (1.2, 1.4),
    "efficientnet-lite4": (1.4, 1.8),
}
"""Name → (width, depth) multipliers of the stages below."""

STAGES = (
    "r1_k3_s11_e1_i32_o16_se0.25",
    "r2_k3_s22_e6_i16_o24_se0.25",
    "r2_k5_s22_e6_i24_o40_se0.25",
    "r3_k3_s22_e6_i40_o80_se0.25",
    "r3_k5_s11_e6_i80_o112_se0.25",
    "r4_k5_s22_e6_i112_o192_se0.25",
    "r1_k3_s11_e6_i192_o320_se0.25",
)
"""automl's notation: r repeats, kernel, strides, expansion, input and output filters, squeeze-excite ratio."""


@dataclass(frozen=True, kw_only=True)
class BlockSpec:
    """One block, or a stage of `repeats` blocks."""

    repeats: int
    kernel: int
    strides: tuple[int, int]
    expand: int
    filters_in: int
    filters_out: int
    se_ratio: float = 0.0
    has_skip: bool = True
    fused: bool = False
    """Whether one full convolution replaces the expansion and the depthwise convolution."""
    is_plain: bool = False
    """Whether the expansion is a 3x3 convolution without a depthwise convolution after it (automl's conv_type 1)."""

    @property
    def filters_inside(self) -> int:
        """Channels between expansion and projection."""
        return self.filters_in * self.expand

    @property
    def is_residual(self) -> bool:
        """Whether the input can be added to the output."""
        return self.has_skip and self.strides == (1, 1) and self.filters_in == self.filters_out


def parse_stage(stage: str | Mapping[str, Any]) -> BlockSpec:
    """Returns the stage of a string or mapping in automl's notation.

    Args:
      stage: a string such as r2_k5_s22_e6_i24_o40_se0.25_noskip, or a mapping
        with the names of automl's BlockArgs.

    Raises:
      ValueError: the notation is invalid, or describes a block that no detector uses.
    """
    written = _stage_in_notation(stage) if isinstance(stage, Mapping) else str(stage)
    values: dict[str, str] = {}
    for part in written.split("_"):
        if found := re.fullmatch(r"(se|[a-z])(\d+(?:\.\d+)?)", part):
            values[found[1]] = found[2]
        elif part not in ("noskip", ""):
            values[part] = ""
    unknown = values.keys() - set("rkseiocf") - {"se", "p"}
    if unknown or not set("rkseio") <= values.keys() or values.get("p", "0") != "0":
        raise ValueError(
            f"A stage of backbone_config must be written like {STAGES[2]}, optionally with c1, f1 or noskip. "
            f"Received {stage!r}; conditional convolutions and super pixels are not supported."
        )
    strides = values["s"] * 2 if len(values["s"]) == 1 else values["s"]
    return BlockSpec(
        repeats=int(values["r"]),
        kernel=int(values["k"]),
        strides=(int(strides[0]), int(strides[1])),
        expand=int(float(values["e"])),
        filters_in=int(values["i"]),
        filters_out=int(values["o"]),
        se_ratio=float(values.get("se", 0)),
        has_skip="noskip" not in written,
        is_plain=values.get("c", "0") == "1",
        fused=values.get("f", "0") == "1",
    )


def _stage_in_notation(stage: Mapping[str, Any]) -> str:
    letters = {
        "num_repeat": "r",
        "kernel_size": "k",
        "strides": "s",
        "expand_ratio": "e",
        "input_filters": "i",
        "output_filters": "o",
        "se_ratio": "se",
        "conv_type": "c",
        "fused_conv": "f",
        "super_pixel": "p",
    }
    parts = []
    for key, value in stage.items():
        if key in letters and value is not None:
            digits = "".join(map(str, value)) if isinstance(value, Sequence) else str(value)
            parts.append(letters[key] + digits)
        elif key == "id_skip":
            parts += [] if value else ["noskip"]
        elif key not in letters and value:
            parts.append(key)
    return "_".join(parts)


def round_filters(filters: int, width: float) -> int:
    """Returns filters times width, rounded to a multiple of 8 that is at least 90 % of the product."""
    scaled = filters * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def block_specs(name: str, stages: Sequence[str | Mapping[str, Any]] = STAGES) -> list[BlockSpec]:
    """Returns all blocks of a backbone in order.

    Lite backbones have no squeeze-excite and do not scale the depth of their
    first and last stage.
    """
    width, depth = SCALES[name]
    is_lite = "lite" in name
    specs: list[BlockSpec] = []
    for position, stage in enumerate(map(parse_stage, stages)):
        is_fixed = is_lite and position in (0, len(stages) - 1)
        spec = replace(
            stage,
            repeats=1,
            filters_in=round_filters(stage.filters_in, width),
            filters_out=round_filters(stage.filters_out, width),
            se_ratio=0.0 if is_lite else stage.se_ratio,
        )
        follower = replace(spec, filters_in=spec.filters_out, strides=(1, 1))
        specs += [spec] + [follower] * ((stage.repeats if is_fixed else math.ceil(depth * stage.repeats)) - 1)
    return specs


def num_levels(backbone_config: Mapping[str, Any] | None) -> int:
    """Returns the number of levels that the stages give.

    Args:
      backbone_config: may have custom stages as `blocks`.

    Raises:
      ValueError: `blocks` is not a list of stages.
    """
    stages = (backbone_config or {}).get("blocks", STAGES)
    if not isinstance(stages, (list, tuple)) or not stages:
        raise ValueError(
            f"backbone_config.blocks must be a list of stages such as {STAGES[2]}. "
            f"Received backbone_config.blocks={stages!r}."
        )
    return len(last_of_levels([parse_stage(stage) for stage in stages]))


def last_of_levels(specs: Sequence[BlockSpec]) -> list[int]:
    """Returns the index of the last block of each level, from level 1 up."""
    strides = [spec.strides[0] for spec in specs] + [2]
    return [index for index in range(len(specs)) if strides[index + 1] > 1]

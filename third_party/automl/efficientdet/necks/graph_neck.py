"""Graph necks: each design of `fpn_designs` as the neck of a detector built from parts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from efficientdet.automl.hparams import unknown_name
from efficientdet.necks.fpn_designs import check_fpn_config, design_graph, num_cells, weight_method
from efficientdet.necks.fpn_graphs import WEIGHT_METHODS, Graph
from efficientdet.necks.neck import Neck


@dataclass(frozen=True, kw_only=True)
class GraphNeckPart:
    """Configuration of a neck that consists of cells of a graph."""

    design: str = "bifpn"
    """One of `fpn_designs.DESIGNS`; the name of the part."""
    filters: int = 64
    repeats: int = 3
    """Cells in series; the vfpn family derives its number of paths from it."""
    min_level: int = 3
    max_level: int = 7
    act_type: str = "swish"
    fpn_weight_method: str | None = None
    separable_conv: bool = True
    apply_bn_for_resampling: bool = True
    conv_after_downsample: bool = False
    conv_bn_act_pattern: bool = False
    nodes: tuple[dict[str, Any], ...] | None = None
    """A custom graph, as `fpn_graphs.custom_graph` reads it."""
    paths: int | None = None
    depth: int | None = None
    input_edge: bool | None = None
    fpn_config: dict[str, Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        options = {key: getattr(self, key) for key in ("nodes", "paths", "depth", "input_edge")}
        object.__setattr__(self, "fpn_config", {key: value for key, value in options.items() if value is not None})
        if self.weight_method not in WEIGHT_METHODS:
            raise ValueError(unknown_name("fpn_weight_method", self.weight_method, WEIGHT_METHODS))
        if min(self.filters, self.repeats) < 1 or not 1 <= self.min_level < self.max_level:
            raise ValueError(
                "filters and repeats must be 1 or more, and min_level below max_level. Received "
                f"{self.filters}, {self.repeats}, {self.min_level} and {self.max_level}."
            )
        check_fpn_config(self.design, self.fpn_config)
        _ = self.graph

    @property
    def fpn_num_filters(self) -> int:
        """Channels of the pyramid."""
        return self.filters

    @property
    def num_fpn_cells(self) -> int:
        """Number of cells in series."""
        return num_cells(self.design, self.fpn_config, self.repeats)

    @property
    def graph(self) -> Graph:
        """The nodes of one cell."""
        return design_graph(
            self.design, self.fpn_config, self.repeats, min_level=self.min_level, max_level=self.max_level
        )

    @property
    def weight_method(self) -> str:
        """Fusion method of the nodes."""
        return weight_method(self.design, self.fpn_config, self.fpn_weight_method)

    def levels(self, backbone_levels: Sequence[int], lowest: int | None) -> range:
        """Returns the levels of the pyramid.

        Raises:
          ValueError: the backbone lacks the lowest level, or one above it that it should have.
        """
        wanted = [level for level in range(self.min_level, self.max_level + 1) if level <= max(backbone_levels)]
        if not wanted or not set(wanted) <= set(backbone_levels):
            raise ValueError(
                f"neck.min_level={self.min_level} must be a level of the backbone, which has "
                f"{', '.join(map(str, sorted(backbone_levels)))}."
            )
        return range(self.min_level, self.max_level + 1)

    def build(self, levels: range) -> Neck:
        """Returns the neck; its levels are those of the part, as `levels` returned them."""
        return Neck(_BuiltNeckConfig(self, levels), name="neck")


class _BuiltNeckConfig:
    """Fields of the part that `Neck` reads, with the levels as a range."""

    def __init__(self, part: GraphNeckPart, levels: range) -> None:
        self.levels = levels
        self.act_type = part.act_type
        self.fpn_num_filters = part.filters
        self.num_fpn_cells = part.num_fpn_cells
        self.graph = part.graph
        self.weight_method = part.weight_method
        self.separable_conv = part.separable_conv
        self.apply_bn_for_resampling = part.apply_bn_for_resampling
        self.conv_after_downsample = part.conv_after_downsample
        self.conv_bn_act_pattern = part.conv_bn_act_pattern

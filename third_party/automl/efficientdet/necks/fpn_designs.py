"""FPN designs that `fpn_name` selects: a graph and the number of its cells in series.

`repeats` is the config's `fpn_cell_repeats`: 3 for D0, 4 for D1, 5 for D2.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from efficientdet.automl.hparams import unknown_name
from efficientdet.necks.fpn_graphs import Graph, bifpn, custom_graph, fpn, pan, parallel, qufpn


@dataclass(frozen=True, kw_only=True)
class Design:
    """One entry of `DESIGNS`: a single graph, or parallel paths with joining nodes."""

    build: Callable[[int, int], Graph] | None = None
    """Builds the graph between two levels; None for parallel paths."""
    weight_method: str | None = None
    """Weight method that the design prescribes; None: the config's."""
    kinds: tuple[str, ...] = ()
    """Kinds of the parallel paths, repeated cyclically; see `fpn_graphs.PATH_KINDS`."""
    paths: Callable[[int], int] = lambda repeats: repeats
    """Number of parallel paths as a function of `repeats`; `fpn_config.paths` overrides it."""
    input_edge: bool = False
    """Whether joining nodes also take the input maps; `fpn_config.input_edge` overrides it."""
    chained: bool = False
    """Whether each joining node also takes the joined map of the level below."""
    cells: Callable[[int], int] = lambda repeats: repeats
    """Number of cells in series as a function of `repeats`; `fpn_config.depth` overrides it."""

    @property
    def options(self) -> tuple[str, ...]:
        """Returns the valid keys of `fpn_config` for this design."""
        weight_method = () if self.weight_method else ("weight_method",)
        return (*weight_method, "depth", *(("paths", "input_edge") if self.kinds else ()))


def _parallel(*kinds: str, paths: Callable[[int], int], **more: Any) -> Design:
    return Design(**{"kinds": kinds, "paths": paths, "cells": lambda repeats: 1, **more})


def _doubled(repeats: int) -> int:
    return 2 * repeats


DESIGNS: dict[str, Design] = {
    "bifpn": Design(build=bifpn),
    "bifpn_dyn": Design(build=bifpn),
    "bifpn_sum": Design(build=bifpn, weight_method="sum"),
    "bifpn_fa": Design(build=bifpn, weight_method="fastattn"),
    "fpn": Design(build=fpn),
    "pan": Design(build=pan),
    "pan_sum": Design(build=pan, weight_method="sum"),
    "pan_fa": Design(build=pan, weight_method="fastattn"),
    "qufpn": Design(build=qufpn),
    "qufpn_sum": Design(
        build=lambda min_level, max_level: qufpn(min_level, max_level, joiner_weight_method="fastattn"),
        weight_method="sum",
    ),
    "qufpn_fa": Design(build=qufpn, weight_method="fastattn"),
    # ExtraDet X0, X1, X2, and a variant with fewer cells.
    "quadfpn": Design(build=qufpn, cells=lambda repeats: max(1, 2 * repeats - 3)),
    "quadfpn_small": Design(build=qufpn, cells=lambda repeats: repeats // 2 + 1),
    "vfpn": _parallel("bifpn", paths=lambda repeats: 2 * repeats + 2),
    "vfpn_small": _parallel("bifpn", paths=lambda repeats: repeats, input_edge=True),
    "vfpn_alt": _parallel("bifpn", "inverted", paths=_doubled, input_edge=True),
    "vfpn_alt_staged": _parallel(
        "bifpn",
        "inverted",
        paths=lambda repeats: repeats,
        input_edge=True,
        cells=lambda repeats: repeats // 3 + 1,
    ),
    "vfpn_split": _parallel("split", paths=_doubled, input_edge=True),
    "vfpn_topdown": _parallel("top_down", paths=_doubled, input_edge=True, chained=True),
}
"""fpn_name → design. The vfpn family follows the published sizes of D0, D1 and D2; larger networks were not published
and follow the same rule."""


def check_fpn_config(fpn_name: str, fpn_config: Mapping[str, Any]) -> None:
    """Checks the options of a design, for an `fpn_config` without nodes.

    Raises:
      ValueError: the design does not have the option, or a value is out of range.
    """
    if "nodes" in fpn_config:
        return
    design = DESIGNS[fpn_name]
    for key, value in fpn_config.items():
        if key not in design.options:
            raise ValueError(
                f"{unknown_name('key of fpn_config', key, (*design.options, 'nodes'))} fpn_name={fpn_name} takes "
                f"{', '.join(design.options)}; a custom graph takes nodes."
            )
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if key in ("paths", "depth") and not (is_whole and value >= 1):
            raise ValueError(f"fpn_config.{key} must be a whole number above 0. Received {value!r}.")
        if key == "input_edge" and not isinstance(value, bool):
            raise ValueError(f"fpn_config.input_edge must be true or false. Received {value!r}.")


def design_graph(
    fpn_name: str, fpn_config: Mapping[str, Any], repeats: int, *, min_level: int, max_level: int
) -> Graph:
    """Returns the graph of one cell."""
    if "nodes" in fpn_config:
        return custom_graph(fpn_config, min_level=min_level, max_level=max_level)
    design = DESIGNS[fpn_name]
    if design.build is not None:
        return design.build(min_level, max_level)
    paths = fpn_config.get("paths", design.paths(repeats))
    kinds = [design.kinds[path % len(design.kinds)] for path in range(paths)]
    input_edge = fpn_config.get("input_edge", design.input_edge)
    return parallel(min_level, max_level, kinds, input_edge=input_edge, chained=design.chained)


def num_cells(fpn_name: str, fpn_config: Mapping[str, Any], repeats: int) -> int:
    """Returns the number of cells in series."""
    if "nodes" in fpn_config:
        return repeats
    return int(fpn_config.get("depth", DESIGNS[fpn_name].cells(repeats)))


def weight_method(fpn_name: str, fpn_config: Mapping[str, Any], fpn_weight_method: str | None) -> str:
    """Returns the weight method of nodes for which the graph does not set one."""
    fixed = None if "nodes" in fpn_config else DESIGNS[fpn_name].weight_method
    return fixed or fpn_config.get("weight_method") or fpn_weight_method or "fastattn"

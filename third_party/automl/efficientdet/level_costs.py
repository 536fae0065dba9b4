"""Cost of each pyramid level: parameters and operations of neck and heads, by the rules of `flops`."""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from efficientdet.flops import Size, cell_nodes, node_operations, tower_operations
from efficientdet.model import Detector


@dataclass(frozen=True, kw_only=True)
class LevelCost:
    """Cost of one pyramid level, for one image."""

    level: int
    size: Size
    """(height, width) of its feature maps."""
    nodes: int
    """Number of the neck's nodes on this level, in all parallel paths and all cells."""
    parameters: int
    """Trainable parameters of these nodes and of their resampling. The heads' convolutions are shared by all levels."""
    neck_flops: int
    """Multiply-adds of these nodes."""
    head_flops: int
    """Multiply-adds of class head and box head on this level."""


def level_costs(model: Detector) -> tuple[LevelCost, ...]:
    """Returns the cost of each level, lowest first.

    The levels that the neck adds to the backbone's (P6, P7) are a separate
    part in `flops.model_cost`.
    """
    config = model.config
    sizes: dict[int, Size] = {level: _size(config.image_size, level) for level in range(13)}
    nodes: dict[int, int] = defaultdict(int)
    parameters: dict[int, int] = defaultdict(int)
    operations: dict[int, int] = defaultdict(int)
    for cell in model.neck.cells:
        for node in cell_nodes(cell):
            nodes[node.level] += node.lanes
            parameters[node.level] += sum(math.prod(weight.shape) for weight in node.layer.trainable_weights)
            operations[node.level] += node_operations(config.act_type, node, sizes)
    heads = [head for head in (model.class_head, model.box_head) if head is not None]
    of_heads: dict[int, int] = defaultdict(int)
    for head in heads:
        for level, count in tower_operations(head, sizes).items():
            of_heads[level] += count
    return tuple(
        LevelCost(
            level=level,
            size=sizes[level],
            nodes=nodes[level],
            parameters=parameters[level],
            neck_flops=operations[level] // 2,
            head_flops=of_heads[level] // 2,
        )
        for level in config.levels
    )


def level_table(costs: Iterable[LevelCost]) -> str:
    """Returns the costs as a text table for a terminal."""
    rows = [f"{'level':<7}{'size':>11}{'nodes':>7}{'parameters':>13}{'neck, multiply-adds':>21}{'heads':>18}"]
    for cost in costs:
        size = f"{cost.size[0]}x{cost.size[1]}"
        rows.append(
            f"P{cost.level:<6}{size:>11}{cost.nodes:>7}{cost.parameters:>13,}{cost.neck_flops:>21,}"
            f"{cost.head_flops:>18,}"
        )
    return "\n".join(rows)


def _size(image_size: Size, level: int) -> Size:
    height, width = (math.ceil(side / 2**level) for side in image_size)
    return height, width

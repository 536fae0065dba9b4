"""What a network costs, as tables, and the graph of its neck, as a drawing."""

from pathlib import Path

import efficientdet
from absl import logging
from efficientdet.any_detector import AnyDetector
from efficientdet.detectors.cost import cost_table, part_costs
from efficientdet.flops import model_cost
from efficientdet.level_costs import level_costs, level_table
from efficientdet.model import Detector
from efficientdet.necks.fpn_graphs import Graph, Node
from efficientdet.necks.fpn_neck import FpnNeck

from efficientdet_pipeline.models.build import network_of_options
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.inspect import InspectOptions
from efficientdet_pipeline.runs.output_files import check_output_files, note_output_files
from efficientdet_pipeline.visualize.fpn_graph import save_graph


def show_model(options: InspectOptions, hparams: HparamsGiven) -> None:
    """Prints the costs of the network that the options describe, and draws its neck if a file is given."""
    network = network_of_options(options.model, hparams)
    path = Path(options.graph_file).expanduser() if options.graph_file else None
    earlier = check_output_files(path.parent, [path.name], option="graph_file") if path is not None else set()
    model = efficientdet.build_model(network.config)
    height, width = network.image_size
    logging.info("%s, %d x %d px, levels %d to %d\n", network.name, width, height, *_ends(model))
    for table in _tables(model):
        logging.info("%s\n", table)
    if path is None:
        return
    levels, graph, cells = neck_graph(model)
    note_output_files(path.parent, [path.name], earlier)
    title = f"{network.name}: neck" + (f", one of {cells} cells in series" if cells > 1 else "")
    logging.info("graph  %s", save_graph(path, graph, levels, title=title))


def _ends(model: AnyDetector) -> tuple[int, int]:
    levels = model.config.levels
    return levels[0], levels[-1]


def _tables(model: AnyDetector) -> list[str]:
    if isinstance(model, Detector):
        return [model_cost(model).table(), level_table(level_costs(model))]
    return [cost_table(part_costs(model))]


def neck_graph(model: AnyDetector) -> tuple[list[int], Graph, int]:
    """Returns the levels of the maps that a neck begins with, the nodes of one of its cells, and their number."""
    if isinstance(model.neck, FpnNeck):
        return *fpn_graph(model.neck), 1
    return list(model.neck.config.levels), model.neck.config.graph, model.neck.config.num_fpn_cells


def fpn_graph(neck: FpnNeck) -> tuple[list[int], Graph]:
    """Returns the levels that an FPN takes, and its nodes: the way down, the outputs, and extra levels."""
    used = sorted(map(int, neck.laterals))
    maps = {level: number for number, level in enumerate(used)}
    nodes: list[Node] = []

    def add(level: int, *inputs: int) -> int:
        nodes.append(Node(level, inputs))
        return len(used) + len(nodes) - 1

    for level in reversed(used[:-1]):
        maps[level] = add(level, maps[level], maps[level + 1])
    outputs = {level: add(level, maps[level]) for level in used}
    reads_output = not neck.part.add_extra_convs or neck.part.extra_convs_on == "on_output"
    outputs.setdefault(used[-1], maps[used[-1]])
    for level in neck.levels[len(used) :]:
        is_first = level == used[-1] + 1
        source = len(used) - 1 if is_first and not reads_output else outputs[level - 1]
        outputs[level] = add(level, source)
    return used, tuple(nodes)

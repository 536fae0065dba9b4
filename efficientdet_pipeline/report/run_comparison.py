"""Comparison of runs from their folders: evaluations on the same images, options, and curves."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from efficientdet_pipeline.console import command_line
from efficientdet_pipeline.data.record_images import RecordImages
from efficientdet_pipeline.errors import MissingError
from efficientdet_pipeline.evaluation.analysis import analyse
from efficientdet_pipeline.evaluation.evaluation_file import SavedEvaluation, read_evaluation, saved_evaluation
from efficientdet_pipeline.evaluation.truth import TruthImage
from efficientdet_pipeline.inference.results import ImageDetections
from efficientdet_pipeline.options.schema import declarations
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.report.comparison import ComparedRun, disagreements, write_comparison
from efficientdet_pipeline.report.evaluation_folder import EvaluationFolder
from efficientdet_pipeline.report.run_files import read_rows, training_charts
from efficientdet_pipeline.runs.metadata import read_args

_NOT_COMPARED = {"mode", "workspace", "run_name", "model_dir", "model_ckpts", "overwrite", "traceback", "debug"}


def find_compared(names: Sequence[str], workspace: Path) -> list[Path]:
    """Returns the folders of runs or evaluations, each with a saved evaluation.

    Raises:
      MissingError: the folder does not exist, or has no evaluation.
    """
    folders = []
    for name in names:
        path = Path(name).expanduser()
        folder = path if path.is_dir() else workspace / name
        if not folder.is_dir():
            known = ", ".join(sorted(each.parent.name for each in workspace.glob("*/args.yaml"))) or "none"
            raise MissingError(
                f"The run {name!r} does not exist. Runs in {workspace}: {known}. Check --runs and --workspace."
            )
        if not EvaluationFolder(folder).saved.is_file():
            command = command_line("--mode=eval", f"--model_dir={folder}")
            raise MissingError(f"The run {folder} has no evaluation to compare. Create one by `{command}`.")
        folders.append(folder)
    return folders


def compare_runs(folders: Sequence[Path], place: Path) -> tuple[Path, list[ComparedRun]]:
    """Writes the comparison of runs into a folder; returns the page and the compared runs.

    Images are the same if their ids and file names are equal; runs whose shards number the same files differently
    are joined by file name.
    """
    saved = [read_evaluation(EvaluationFolder(folder).saved) for folder in folders]
    saved = [saved[0], *(same_images(saved[0], each) for each in saved[1:])]
    args = [_args(folder) for folder in folders]
    differing = sorted({name for each in args for name in each if len({str(one.get(name)) for one in args}) > 1})
    runs = [
        ComparedRun(
            name=name,
            analysis=analyse(each.instances, each.label_map),
            facts={**_facts(each), **{f"--{option}": str(own.get(option, "")) for option in differing}},
            charts=training_charts(read_rows(folder / "results.csv")),
        )
        for name, folder, each, own in zip(_names(folders), folders, saved, args, strict=True)
    ]
    images = RecordImages(saved[0].shards, saved[0].numbers)
    gallery = disagreements(runs, images, file_names=saved[0].file_names) if images.are_there else []
    return write_comparison(place, runs, gallery=gallery), runs


def same_images(first: SavedEvaluation, other: SavedEvaluation) -> SavedEvaluation:
    """Returns an evaluation with the image ids of the first, if both have the same files.

    If the same id belongs to images of different names, the ids of the other are changed, so that they are not
    joined.
    """
    if not first.file_names or not other.file_names:
        return other
    shared = first.file_names.keys() & other.file_names.keys()
    is_one_set = first.instances.source_ids == other.instances.source_ids
    if is_one_set and all(first.file_names[each] == other.file_names[each] for each in shared):
        return other
    ids = {name: source_id for source_id, name in first.file_names.items()}
    is_named = len(ids) == len(first.instances.source_ids) == len(set(other.file_names.values()))
    if is_named and set(other.file_names.values()) == ids.keys():
        return _renamed(other, {source_id: ids[name] for source_id, name in other.file_names.items()})
    wrong = {each for each in shared if first.file_names[each] != other.file_names[each]}
    return _renamed(other, {each: f"{each} (other)" for each in wrong}) if wrong else other


def _renamed(saved: SavedEvaluation, ids: Mapping[str, str]) -> SavedEvaluation:
    truth, found = saved.instances.truth, saved.instances.found
    truths, detected = [], []
    for row, source_id in enumerate(saved.instances.source_ids):
        own, seen, name = truth.images == row, found.images == row, ids.get(source_id, source_id)
        truths.append(
            TruthImage(
                name,
                _corners(truth.boxes_xywh[own]),
                truth.class_ids[own],
                truth.is_crowd[own],
                truth.areas[own],
                is_difficult=truth.is_difficult[own],
            )
        )
        boxes = _corners(found.boxes_xywh[seen])
        detected.append(ImageDetections(boxes, found.scores[seen], found.class_ids[seen], source_id=name))
    again = saved_evaluation((truths, detected), saved.label_map)
    names = {ids.get(source_id, source_id): name for source_id, name in saved.file_names.items()}
    return dataclasses.replace(saved, instances=again.instances, file_names=names, numbers={}, shards=())


def _corners(boxes_xywh: np.ndarray) -> np.ndarray:
    x, y, width, height = boxes_xywh.T
    return np.stack([y, x, y + height, x + width], axis=-1)


def _names(folders: Sequence[Path]) -> list[str]:
    """Returns a name for each run: its folder's, extended by parent folders if names are equal."""
    for depth in range(1, 5):
        names = ["/".join(folder.absolute().parts[-depth:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [f"{number} {folder}" for number, folder in enumerate(folders, start=1)]


def _facts(saved: SavedEvaluation) -> dict[str, str]:
    facts = {"Evaluated": str(saved.facts.get("checkpoint", "")), "Evaluated on": str(saved.facts.get("data", ""))}
    milliseconds = saved.facts.get("milliseconds")
    if isinstance(milliseconds, int | float):
        facts["Inference per image"] = f"{milliseconds:.1f} ms"
    return {**facts, "Evaluated images": f"{len(saved.instances.source_ids):,}"}


def _args(folder: Path) -> dict[str, Any]:
    """Returns the options of a run; those unknown to its version have their defaults."""
    given = read_args(folder / "args.yaml")
    defaults = {name: each.default for name, each in declarations(TrainOptions).items()} if given else {}
    return {name: value for name, value in {**defaults, **given}.items() if name not in _NOT_COMPARED}

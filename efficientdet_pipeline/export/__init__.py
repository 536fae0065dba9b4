"""A trained detector as files that run without this package.

>>> export(model, config, "runs/x/export", label_map={1: "cat"})
ExportedFiles(saved_model=…/saved_model, frozen_graph=…/efficientdet-d0_frozen.pb, label_map=…, hparams=…)
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras
import yaml
from efficientdet.config import DetectorConfig

from efficientdet_pipeline.export.earlier import check_replaceable, earlier_files
from efficientdet_pipeline.export.frozen_graph import write_frozen_graph
from efficientdet_pipeline.export.saved_model import write_saved_model
from efficientdet_pipeline.export.serving import ServedDetector
from tfrmod.replacement import finish_replacement, replace_files

__all__ = ["EXPORTS", "ExportedFiles", "ServedDetector", "export"]

EXPORTS = {
    "saved_model": ("saved_model", write_saved_model),
    "{model}_frozen.pb": ("frozen_graph", write_frozen_graph),
}
"""File name: (field of ExportedFiles, writer of a ServedDetector to a path)."""

LABEL_MAP = "label_map.yaml"
HPARAMS = "hparams_config.yaml"


class ExportedFiles(NamedTuple):
    """Where an export lies."""

    saved_model: Path
    """Folder for TensorFlow Serving and tf.saved_model.load."""
    frozen_graph: Path
    """One file: the graph with its weights as constants."""
    label_map: Path
    """YAML, class id to name."""
    hparams: Path
    """YAML that --hparams reads: the network, its canvas and its labels."""


def export(
    model: keras.Model,
    config: DetectorConfig,
    output_dir: str | Path,
    *,
    label_map: Mapping[int, str],
    hparams: Mapping[str, Any] | None = None,
    mode: str = "per_class",
) -> ExportedFiles:
    """Writes a detector with its pre- and post-processing, and returns where.

    An earlier export is replaced as one when the new one is whole; a process that
    is killed leaves one of them, never parts of both. Other files in `output_dir` stay.

    Args:
      model: from `build_model(config)`, with its weights.
      output_dir: made where missing.
      label_map: class id to name.
      hparams: of the run, written along so that the run can be repeated.
      mode: of suppression, as `efficientdet.postprocess.detections` takes it;
        the default is the one that evaluation measures.

    Raises:
      OptionsError: a file that is not of an earlier export has a name of the new one's.
      OSError: the files cannot be written.
    """
    output_dir = Path(output_dir).expanduser()
    names = {field: name.format(model=config.name) for name, (field, _) in EXPORTS.items()}
    new = {*names.values(), LABEL_MAP, HPARAMS}
    finish_replacement(output_dir)
    check_replaceable(output_dir, new)
    served = ServedDetector(model, config, mode=mode)
    settings = {**(hparams or {}), **config.to_hparams(), "label_map": dict(label_map)}

    def write_all(folder: Path) -> None:
        for field, write in EXPORTS.values():
            write(served, folder / names[field])
        _write_yaml(folder / LABEL_MAP, {int(class_id): name for class_id, name in label_map.items()})
        _write_yaml(folder / HPARAMS, settings)

    replace_files(output_dir, write_all, earlier=new | earlier_files(output_dir))
    paths = {field: output_dir / name for field, name in names.items()}
    return ExportedFiles(**paths, label_map=output_dir / LABEL_MAP, hparams=output_dir / HPARAMS)


def _write_yaml(path: Path, content: Mapping[Any, Any]) -> None:
    path.write_text(yaml.safe_dump(dict(content), allow_unicode=True, sort_keys=True), encoding="utf-8")

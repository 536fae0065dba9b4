"""Files at the location of an export: an earlier export, which is replaced, or other files, which are kept."""

import re
from collections.abc import Collection
from pathlib import Path

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.runs.metadata import read_json
from efficientdet_pipeline.runs.output_files import NOTE

_HPARAMS = "hparams_config.yaml"


def check_replaceable(folder: Path, names: Collection[str]) -> set[str]:
    """Checks that an export replaces only an earlier one, and returns the file names of that one.

    Args:
      folder: output folder of the export.
      names: of its files.

    Raises:
      OptionsError: an unrelated file has one of these names.
    """
    if folder.exists() and not folder.is_dir():
        raise OptionsError(
            f"path_output must be a folder. Received {folder}, which is a file; choose another --path_output.",
            option="path_output",
        )
    earlier = earlier_files(folder)
    for name in sorted(names):
        path = folder / name
        is_free = not (path.exists() or path.is_symlink()) or (path.is_dir() and not any(path.iterdir()))
        is_ours = name in earlier and (path.is_file() or (path / "saved_model.pb").is_file())
        if not (is_free or is_ours):
            raise OptionsError(
                f"{path} must not exist, or be part of an earlier export, which is then replaced. It is another file "
                "or "
                "folder; move it elsewhere, or choose another --path_output.",
                option="path_output",
            )
    return earlier


def earlier_files(folder: Path) -> set[str]:
    """Returns the names of the files of an earlier export; empty without an earlier export.

    An export records its files. Earlier versions did not: their exports are
    recognized by a network description with the model's name, and the SavedModel
    or frozen graph of that model.
    """
    noted = read_json(folder / NOTE).get("files")
    if isinstance(noted, list):
        return {NOTE, *map(str, noted)}
    try:
        with open(folder / _HPARAMS, encoding="utf-8", errors="replace") as file:
            description = file.read(1 << 20)
    except OSError:
        return set()
    model = re.search(r"(?m)^name: *['\"]?([\w.-]+)", description)
    if model is None:
        return set()
    frozen_graph = f"{model[1]}_frozen.pb"
    if not ((folder / frozen_graph).is_file() or (folder / "saved_model" / "saved_model.pb").is_file()):
        return set()
    return {"saved_model", frozen_graph, "label_map.yaml", _HPARAMS}

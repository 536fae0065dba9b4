"""What lies where an export goes: an earlier export, which is replaced, or files of the user's, which are not."""

import re
from collections.abc import Collection
from pathlib import Path

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.runs.metadata import read_json
from efficientdet_pipeline.runs.output_files import NOTE

_HPARAMS = "hparams_config.yaml"


def check_replaceable(folder: Path, names: Collection[str]) -> set[str]:
    """Makes sure that an export replaces nothing but an earlier one, whose files it returns by name.

    Args:
      folder: where the export goes.
      names: of its files.

    Raises:
      OptionsError: something of such a name is there that no export wrote.
    """
    if folder.exists() and not folder.is_dir():
        raise OptionsError(
            f"path_output must be a folder. Received {folder}, where a file is; choose another --path_output.",
            option="path_output",
        )
    earlier = earlier_files(folder)
    for name in sorted(names):
        path = folder / name
        is_free = not (path.exists() or path.is_symlink()) or (path.is_dir() and not any(path.iterdir()))
        is_ours = name in earlier and (path.is_file() or (path / "saved_model.pb").is_file())
        if not (is_free or is_ours):
            raise OptionsError(
                f"{path} must be free, or hold an earlier export, which is then replaced. Received something else of "
                "that name; move it elsewhere, or choose another --path_output.",
                option="path_output",
            )
    return earlier


def earlier_files(folder: Path) -> set[str]:
    """Returns the names of the files of an earlier export, none where there is no export.

    An export notes its files. One of an earlier version, which noted nothing, is
    known by its network's description with the model's name, and the SavedModel
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

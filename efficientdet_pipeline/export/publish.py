"""Copy of a finished export for a training service, with the SavedModel at the root of the folder."""

import shutil
from pathlib import Path

from absl import logging

from efficientdet_pipeline.runs.output_files import NOTE, check_output_files, note_output_files

SAVED_MODEL = "saved_model"
MARKER = "saved_model.pb"
"""Written last: a service that finds it finds the rest."""


def publish_export(export: Path, target: Path) -> None:
    """Copies the files of an export into a folder that a service reads, such as a mounted bucket.

    The SavedModel's files lie at the root of `target`, where Vertex AI and TensorFlow Serving look for them; the other
    formats, labels and thresholds lie beside them. No file is renamed, and an earlier copy is replaced.

    Args:
      export: folder of the export.
      target: folder to copy to; it is made.

    Raises:
      OptionsError: the folder holds a file of such a name that no export was copied to.
    """
    files = {path.relative_to(export).as_posix(): path for path in sorted(export.rglob("*")) if path.is_file()}
    copies = {name.removeprefix(f"{SAVED_MODEL}/"): path for name, path in files.items() if name != NOTE}
    earlier = check_output_files(target, copies, option="publish_dir")
    note_output_files(target, copies, earlier)
    marker = target / MARKER
    marker.unlink(missing_ok=True)
    for name in sorted(copies, key=lambda name: name == MARKER):
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(copies[name], path)
    logging.info("%-12s  %s", "published", target)

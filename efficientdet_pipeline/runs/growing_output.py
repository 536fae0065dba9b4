"""Output files whose names are known only when they are written, recorded so that a later call may replace them."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from efficientdet_pipeline.runs.output_files import check_output_files, note_output_files, refuse_foreign

_JOURNAL = ".efficientdet-files.jsonl"
"""File with the names that an unfinished call has added to the list of output files, one JSON string per line."""


def _journal(folder: Path) -> list[str]:
    """Returns the names in the journal of an interrupted call; its last line may be incomplete."""
    try:
        lines = (folder / _JOURNAL).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    names = []
    for line in lines:
        with suppress(ValueError):
            names.append(str(json.loads(line)))
    return names


class GrowingOutput:
    """Output files of a folder whose names are known only when they are written.

    Args:
      option: option that names the folder, for messages.
    """

    def __init__(self, *, option: str) -> None:
        self._option = option
        self._earlier: set[str] | None = None
        self._made: set[str] = set()

    def add(self, folder: Path, names: Sequence[str]) -> None:
        """Records files before they are written, so that a later call may replace them even after an interruption.

        Args:
          folder: always the same one; created with the first file.
          names: of files in it.

        Raises:
          OptionsError: an unrelated file has one of the names.
        """
        if self._earlier is None:
            self._earlier = check_output_files(folder, names, option=self._option, known=_journal(folder))
            note_output_files(folder, (), self._earlier)
        else:
            refuse_foreign(folder, names, self._earlier | self._made, option=self._option)
        with (folder / _JOURNAL).open("a", encoding="utf-8") as journal:
            journal.writelines(f"{json.dumps(name)}\n" for name in names)
        self._made |= set(names)

    def close(self, folder: Path) -> None:
        """Deletes files of an earlier call that were not written again, and completes the list."""
        for name in (self._earlier or set()) - self._made:
            (folder / name).unlink(missing_ok=True)
        note_output_files(folder, self._made, ())
        (folder / _JOURNAL).unlink(missing_ok=True)

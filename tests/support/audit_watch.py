"""Watch over what the interpreter is asked to do: files written, processes started, addresses opened."""

import os
import sys
from pathlib import Path
from typing import Any

WRITES = {"os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink", "os.truncate", "os.chmod"}
ELSEWHERE = ("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "urllib.")


class Watch:
    """What the interpreter was asked to do while watched; a hook stays for good, so there is one in a process.

    Args:
      root: folder in which files may be written; None if none may be.
      elsewhere: beginnings of the events that are found wherever they happen.
      ignores_relative_removal: whether a removal that names its folder by an open
        descriptor, as in shutil.rmtree, is left out.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        elsewhere: tuple[str, ...] = ELSEWHERE,
        ignores_relative_removal: bool = False,
    ) -> None:
        self.is_on = False
        self.found: list[str] = []
        self._root = root
        self._elsewhere = elsewhere
        self._ignores_relative_removal = ignores_relative_removal
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.is_on and (event.startswith(self._elsewhere) or self._writes_outside(event, arguments)):
            self.found.append(f"{event} {arguments!r:.200}")

    def _writes_outside(self, event: str, arguments: tuple[Any, ...]) -> bool:
        for_writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT
        is_writing = event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & for_writing)
        if not is_writing and event not in WRITES:
            return False
        if self._root is None:
            return True
        if self._ignores_relative_removal and event == "os.remove" and arguments[1] != -1:
            return False
        # A descriptor was opened by a path that has been looked at.
        return not isinstance(arguments[0], int) and not os.path.abspath(os.fsdecode(arguments[0])).startswith(
            str(self._root)
        )

"""Files that are whole or not there."""

import os
from pathlib import Path


def write_whole(path: str | Path, content: bytes) -> None:
    """Writes a file under a temporary name and renames it; missing folders are made.

    Raises:
      OSError: the file cannot be written; an older one of this name is still there.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)

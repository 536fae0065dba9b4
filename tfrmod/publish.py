"""Atomic publication of finished shards in the output folder; unknown files are never replaced.

The order of the steps makes it safe against kills: a note with the new files, the
old manifest is removed, the files are moved in, the new manifest is written.
Without a manifest a conversion is not complete; the note tells the next run which
files it may replace.
"""

import contextlib
import json
from pathlib import Path
from typing import Any

from tfrmod import fileio
from tfrmod import manifest as hparams
from tfrmod.counted import counted
from tfrmod.errors import DatasetError
from tfrmod.manifest import CONVERTER, FILE_NAME, SPLITS, Manifest

_NOTE = ".placing.json"
_PATTERNS = tuple(f"{name}{ending}" for name in SPLITS for ending in ("-?????-of-?????.tfrecord", ".txt"))
PROBLEMS_FILE = "problems.jsonl"
_BESIDE = (PROBLEMS_FILE, hparams.HPARAMS_FILE_NAME, FILE_NAME)


def finished_manifest(output_dir: Path, source: str, options: dict[str, Any]) -> Manifest | None:
    """Returns the manifest of an earlier conversion of the same data with the same options, if its shards exist."""
    try:
        manifest = Manifest.load(output_dir)
        manifest.verify(contents=False)
    except DatasetError:
        return None
    made_of = (manifest.converter, manifest.source, manifest.options)
    return manifest if made_of == (CONVERTER, source, options) else None


def check_unknown_files(output_dir: Path) -> None:
    """Checks that the output folder has no other shards than those of an earlier conversion.

    Raises:
      DatasetError: it has others, which a training's pattern would match too.
    """
    known = _known_files(output_dir)
    patterns = (*_PATTERNS, *_BESIDE)
    found = sorted(path.name for pattern in patterns for path in output_dir.glob(pattern) if path.name not in known)
    if found:
        raise DatasetError(
            f"{output_dir} has {counted(len(found), 'file')} in no manifest there ({found[0]} for one), and the new "
            "shards and lists would mix with them or replace them. Move them away, or name another folder."
        )


def publish_shards(finished_files: Path, output_dir: Path, manifest: Manifest) -> None:
    """Moves every file of a staging folder on the same disk into `output_dir`, and the manifest last.

    Hidden files are partial files of ending processes and stay.
    """
    new = sorted(path.name for path in finished_files.iterdir() if not path.name.startswith("."))
    old = _known_files(output_dir)
    fileio.write_file(output_dir / _NOTE, json.dumps(sorted(old.union(new, _BESIDE))) + "\n")
    (output_dir / FILE_NAME).unlink(missing_ok=True)
    for name in sorted(old.difference(new, _BESIDE)):
        (output_dir / name).unlink(missing_ok=True)
    for name in new:
        (finished_files / name).replace(output_dir / name)
    hparams.write_hparams_config(output_dir / hparams.HPARAMS_FILE_NAME, manifest)
    manifest.save(output_dir / FILE_NAME)
    (output_dir / _NOTE).unlink()
    for name in (_NOTE, hparams.HPARAMS_FILE_NAME, FILE_NAME):
        fileio.remove_partial(output_dir, name)


def _known_files(output_dir: Path) -> set[str]:
    """Returns the files that an earlier conversion has written, or was about to write."""
    known: set[str] = set()
    with contextlib.suppress(DatasetError):
        manifest = Manifest.load(output_dir)
        known.update(shard.name for part in manifest.splits.values() for shard in part.files)
        known.update((*(f"{name}.txt" for name in manifest.splits), *_BESIDE))
    with contextlib.suppress(OSError, ValueError, TypeError):
        known.update(_BESIDE, map(str, json.loads((output_dir / _NOTE).read_text(encoding="utf-8"))))
    return {name for name in known if "/" not in name and "\\" not in name}

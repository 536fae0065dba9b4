"""--mode=verify: verification of shards by their checksums."""

from collections.abc import Mapping
from pathlib import Path

from absl import logging

from efficientdet_pipeline.data.prepare import ProgressBar
from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.parser import Sources
from efficientdet_pipeline.options.verify import VerifyOptions
from efficientdet_pipeline.runs.run_dir import find_run
from tfrmod import verify_shards
from tfrmod.counted import counted
from tfrmod.manifest import FILE_NAME, Manifest, shard_files
from tfrmod.patterns import escape_path
from tfrmod.tfrecord_io import ShardInfo
from tfrmod.workers import Workers, default_workers

FAULTS_SHOWN = 20
"""Reported problems per file; a truncated copy has one, a damaged disk may cause many."""
_FEW_BYTES = 256 << 20  # Below this, starting processes takes longer than reading.

Tasks = list[tuple[Path, ShardInfo | None]]


def run(options: VerifyOptions, read: Sources, hparams: HparamsGiven) -> None:
    """Logs the result of each split, and raises an error if shards are damaged."""
    del read, hparams
    splits = shards_to_verify(options)
    tasks = [task for split in splits.values() for task in split]
    reports: dict[Path, verify_shards.ShardReport] = {}
    with Workers(_num_workers(tasks, options.num_workers)) as workers, ProgressBar("verifying", "shard") as show:
        for report in workers.map(verify_shards.shard_report, tasks):
            reports[report.path] = report
            show(len(reports), len(tasks))
    for name, split in splits.items():
        _tell(name, [reports[path] for path, _ in split])
    damaged = [path for path, report in reports.items() if report.faults]
    if damaged:
        raise DataError(
            f"{len(damaged)} of {len(tasks)} shards are damaged: {_few(damaged)}. Copy them again from "
            "their source, or delete them and convert the images again."
        )


def shards_to_verify(options: VerifyOptions) -> Mapping[str, Tasks]:
    """Returns the files of each split, with their entries in the manifest.

    Raises:
      DatasetError: there are no shards, or a folder has no manifest.
    """
    given = options.file_pattern or options.output_path
    if given and not Path(given).is_dir():
        return _by_pattern(given)
    folder = Path(given) if given else find_run(options.run).records_path
    if not (folder / FILE_NAME).exists() and any(folder.glob("*.tfrecord")):
        return _by_pattern(str(Path(escape_path(folder)) / "*.tfrecord"))
    splits = Manifest.load(folder).splits
    return {name: [(folder / shard.name, shard) for shard in split.files] for name, split in splits.items()}


def _by_pattern(pattern: str) -> Mapping[str, Tasks]:
    files = shard_files(pattern, source="--file_pattern")
    files = tuple(path for path in files if "tfrecord" in path.name) or files  # Manifests may be beside them.
    known = verify_shards.known_shards(files)
    missing = verify_shards.missing_shards(files, pattern)
    if len(known) < len(files):
        unknown = counted(len(files) - len(known), "file")
        logging.info("In no manifest, and verified by record checksums alone: %s.", unknown)
    return {pattern: [(path, known.get(path)) for path in sorted([*files, *missing])]}


def _num_workers(tasks: Tasks, asked: int) -> int:
    num_bytes = sum(path.stat().st_size for path, _ in tasks if path.is_file())
    return asked or (default_workers() if num_bytes >= _FEW_BYTES else 1)


def _tell(name: str, reports: list[verify_shards.ShardReport]) -> None:
    num_bad = sum(bool(report.faults) for report in reports)
    verdict = f"{num_bad} DAMAGED" if num_bad else "intact"
    records = counted(sum(each.num_records for each in reports), "record")
    logging.info("%-5s %s, %s: %s", name, counted(len(reports), "shard"), records, verdict)
    for report in reports:
        for fault in report.faults[:FAULTS_SHOWN]:
            logging.warning("%s: %s", report.path, fault)
        if len(report.faults) > FAULTS_SHOWN:
            logging.warning("%s: %d more", report.path, len(report.faults) - FAULTS_SHOWN)


def _few(paths: list[Path]) -> str:
    return ", ".join(path.name for path in paths[:5]) + (" …" if len(paths) > 5 else "")

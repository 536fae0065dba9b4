"""Run directory: its files, its lock, and its location."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from efficientdet_pipeline.errors import MissingError, OptionsError
from efficientdet_pipeline.options.general import RunOptions
from tfrmod.fileio import lock_file


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Locks a run's folder for this process; the lock ends with the process.

    Raises:
      OptionsError: another process has locked it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a+", encoding="utf-8") as file:
        try:
            is_ours = lock_file(file.fileno(), waits=False)
        except OSError:  # The file system or the platform has no locks.
            is_ours = True
        if not is_ours:
            file.seek(0)
            raise OptionsError(
                f"Another process ({file.read().strip() or 'unknown'}) is using the run {folder}. "
                "Wait for it, stop it, or use another --run_name."
            )
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield


@dataclass(frozen=True)
class RunFolder:
    """A run's folder; docs/run-folder.md lists its files."""

    path: Path
    export_path: Path
    """Folder of the export: `export` in the run's folder by default."""
    records_path: Path
    """Folder of the shards: `tfrecords` in the run's folder by default."""
    metadata_folder: Path

    @property
    def args(self) -> Path:
        """Every option, with the source of its value."""
        return self.path / "args.yaml"

    @property
    def metadata(self) -> Path:
        """Metadata of data, training and environment."""
        return self.metadata_folder / "metadata.json"

    @property
    def manifest(self) -> Path:
        """Contents of the shards."""
        return self.records_path / "manifest.json"

    @property
    def best(self) -> Path:
        """The checkpoint with the highest AP."""
        return self.path / "checkpoints" / "best"

    @property
    def last(self) -> Path:
        """The newest checkpoint, from which a run resumes."""
        return self.path / "checkpoints" / "last"

    @property
    def tensorboard(self) -> Path:
        """Scalars and images for TensorBoard."""
        return self.path / "tensorboard"

    @property
    def results(self) -> Path:
        """Metrics, one row per epoch."""
        return self.path / "results.csv"

    @property
    def curves(self) -> Path:
        """Plot of the metrics."""
        return self.path / "results.png"

    @property
    def incidents(self) -> Path:
        """Steps with unusual losses, for the doctor."""
        return self.path / "incidents.jsonl"

    @property
    def bad_steps(self) -> Path:
        """The images of the steps with non-finite losses that ended a run."""
        return self.path / "bad_steps.json"

    @property
    def compression(self) -> Path:
        """Zeros and distinct values of each kernel, of a training with compression."""
        return self.path / "compression.json"

    @property
    def metrics(self) -> Path:
        """COCO metrics of the best checkpoint, and of the last."""
        return self.path / "metrics.json"

    @property
    def thresholds(self) -> Path:
        """Score thresholds of the best F1 on the validation images, for inference."""
        return self.path / "thresholds.yaml"

    @property
    def report(self) -> Path:
        """Folder of the report."""
        return self.path / "report"

    @property
    def pictures(self) -> Path:
        """Validation images with drawn detections."""
        return self.path / "pictures"

    @property
    def log(self) -> Path:
        """The log."""
        return self.path / "log.txt"


def run_folder(
    options: RunOptions, automatic_name: str, *, path_output: str = "", output_path: str = "", path_metadata: str = ""
) -> RunFolder:
    """Returns the folder that the options name, else the automatically named one in the workspace.

    Args:
      path_output: folder of the export; empty for the run's folder.
      output_path: folder of the shards; likewise.
      path_metadata: folder of metadata.json; likewise.
    """
    if options.model_dir:
        path = Path(options.model_dir)
    elif options.model_ckpts:
        path = Path(options.model_ckpts) / "model"
    else:
        path = Path(options.workspace) / (options.run_name or automatic_name)
    export_path = Path(options.model_ckpts) / "freeze_model" if options.model_ckpts else path / "export"
    return RunFolder(
        path=path,
        export_path=Path(path_output or export_path),
        records_path=Path(output_path or path / "tfrecords"),
        metadata_folder=Path(path_metadata or path),
    )


def find_run(options: RunOptions, *, trained: bool = False, path_output: str = "") -> RunFolder:
    """Returns the run that the options name, else the latest in the workspace.

    Args:
      trained: whether the latest run must have a checkpoint; runs with shards only
        are then skipped.
      path_output: folder of the export; empty for the run's folder.

    Raises:
      MissingError: the run does not exist.
    """
    if options.model_dir or options.run_name or options.model_ckpts:
        folder = run_folder(options, "", path_output=path_output)
        if not folder.path.is_dir():
            known = (
                ", ".join(sorted(path.parent.name for path in Path(options.workspace).glob("*/args.yaml"))) or "none"
            )
            raise MissingError(
                f"The run {folder.path} does not exist. Runs in {options.workspace}: {known}. "
                "Check --model_dir, --run_name and --workspace."
            )
        return folder
    runs = sorted(Path(options.workspace).glob("*/args.yaml"), key=lambda path: path.stat().st_mtime)
    if trained and runs:
        untrained = len(runs)
        runs = [args for args in runs if _has_checkpoint(args.parent)]
        if not runs:
            raise MissingError(
                f"None of the {untrained} runs in {options.workspace} (workspace) has a checkpoint yet. Train one by "
                "`python3 main.py @params.config`, or name a checkpoint by --path_ckpt."
            )
    if not runs:
        other = "a checkpoint by --path_ckpt" if trained else "shards by --file_pattern"
        raise MissingError(
            f"The workspace {options.workspace} contains no run. Train one by `python3 main.py @params.config`, "
            f"or name {other} or a run's folder by --model_dir."
        )
    return run_folder(options, runs[-1].parent.name, path_output=path_output)


def containing_run(path: Path, *, path_output: str = "") -> RunFolder | None:
    """Returns the run whose folder is or contains `path`, down to the depth of a checkpoint's file; None if none is."""
    for folder in (path, *path.parents[:3]):
        if (folder / "args.yaml").is_file() and _has_checkpoint(folder):
            return RunFolder(folder, Path(path_output or folder / "export"), folder / "tfrecords", folder)
    return None


def _has_checkpoint(folder: Path) -> bool:
    return any((folder / "checkpoints").glob("*/model.weights.h5"))

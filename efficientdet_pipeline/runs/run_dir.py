"""Run directory: its files, its lock, and where to find it."""

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
    """Holds a run's folder for this process; the lock dies with it, however it ends.

    Raises:
      OptionsError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a+", encoding="utf-8") as file:
        try:
            is_ours = lock_file(file.fileno(), waits=False)
        except OSError:  # A disk or a system that locks nothing.
            is_ours = True
        if not is_ours:
            file.seek(0)
            raise OptionsError(
                f"Another process ({file.read().strip() or 'unknown'}) is working on the run {folder}. "
                "Wait for it, stop it, or give this run another --run_name."
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
    """Where the export goes: `export` in the folder, unless an option says otherwise."""
    records_path: Path
    """Where the shards are: `tfrecords` in the folder, unless an option says otherwise."""
    metadata_folder: Path

    @property
    def args(self) -> Path:
        """Every option, with where its value came from."""
        return self.path / "args.yaml"

    @property
    def metadata(self) -> Path:
        """What the run was made from."""
        return self.metadata_folder / "metadata.json"

    @property
    def manifest(self) -> Path:
        """What the shards hold."""
        return self.records_path / "manifest.json"

    @property
    def best(self) -> Path:
        """The checkpoint with the highest AP."""
        return self.path / "checkpoints" / "best"

    @property
    def last(self) -> Path:
        """The newest checkpoint; a run continues from it."""
        return self.path / "checkpoints" / "last"

    @property
    def tensorboard(self) -> Path:
        """Scalars and pictures for TensorBoard."""
        return self.path / "tensorboard"

    @property
    def results(self) -> Path:
        """One row an epoch."""
        return self.path / "results.csv"

    @property
    def curves(self) -> Path:
        """The rows as a picture."""
        return self.path / "results.png"

    @property
    def incidents(self) -> Path:
        """Steps whose loss stood out, for the doctor."""
        return self.path / "incidents.jsonl"

    @property
    def bad_steps(self) -> Path:
        """The images of the steps that ended a run."""
        return self.path / "bad_steps.json"

    @property
    def compression(self) -> Path:
        """Zeros and different values of each kernel, of a training that compresses."""
        return self.path / "compression.json"

    @property
    def metrics(self) -> Path:
        """COCO's numbers of the best checkpoint, and of the last."""
        return self.path / "metrics.json"

    @property
    def thresholds(self) -> Path:
        """Score thresholds of the best F1 on the validation images, which inference reads."""
        return self.path / "thresholds.yaml"

    @property
    def report(self) -> Path:
        """Folder of the page that explains the run."""
        return self.path / "report"

    @property
    def pictures(self) -> Path:
        """Validation images with detections drawn."""
        return self.path / "pictures"

    @property
    def log(self) -> Path:
        """Everything that was said."""
        return self.path / "log.txt"


def run_folder(
    options: RunOptions, automatic_name: str, *, path_output: str = "", output_path: str = "", path_metadata: str = ""
) -> RunFolder:
    """Returns the folder that the options name, or that of the automatic name in the workspace.

    Args:
      path_output: folder of the export; empty: in the run's folder.
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
      trained: whether the latest is meant that has a checkpoint; one that holds
        shards alone does not count then.
      path_output: folder of the export; empty: in the run's folder.

    Raises:
      MissingError: there is no such run.
    """
    if options.model_dir or options.run_name or options.model_ckpts:
        folder = run_folder(options, "", path_output=path_output)
        if not folder.path.is_dir():
            known = (
                ", ".join(sorted(path.parent.name for path in Path(options.workspace).glob("*/args.yaml"))) or "none"
            )
            raise MissingError(
                f"There is no run {folder.path}. Runs in {options.workspace}: {known}. "
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
            f"There is no run in {options.workspace} (workspace). Train one by `python3 main.py @params.config`, "
            f"or name {other} or a run's folder by --model_dir."
        )
    return run_folder(options, runs[-1].parent.name, path_output=path_output)


def containing_run(path: Path, *, path_output: str = "") -> RunFolder | None:
    """Returns the run whose folder `path` is or lies in, at most as deep as a checkpoint's file; None where none is."""
    for folder in (path, *path.parents[:3]):
        if (folder / "args.yaml").is_file() and _has_checkpoint(folder):
            return RunFolder(folder, Path(path_output or folder / "export"), folder / "tfrecords", folder)
    return None


def _has_checkpoint(folder: Path) -> bool:
    return any((folder / "checkpoints").glob("*/model.weights.h5"))

"""Trained weights: search, and complete loading into their detector."""

from dataclasses import dataclass
from pathlib import Path

import efficientdet
import keras
from absl import logging

from efficientdet_pipeline.errors import DataError, MissingError
from efficientdet_pipeline.options.evaluation import CheckpointOptions
from efficientdet_pipeline.options.general import RunOptions
from efficientdet_pipeline.runs.run_dir import RunFolder, containing_run, find_run

WEIGHTS = "model.weights.h5"
DESCRIPTION = "hparams_config.yaml"


@dataclass(frozen=True)
class TrainedWeights:
    """A checkpoint and the files around it."""

    path: Path
    description: Path
    """Hyper-parameters and classes of the network."""
    run: RunFolder | None
    """Run whose folder contains the checkpoint, if any."""
    names_run: bool
    """Whether the options name the run itself, so that results are written to its folder."""


def trained_weights(options: CheckpointOptions, run_options: RunOptions, *, path_output: str = "") -> TrainedWeights:
    """Returns the weights that path_ckpt or the run's options name.

    Args:
      path_output: folder of the run's export, if it is not in the run's folder.

    Raises:
      MissingError: they do not exist.
      OptionsError: path_ckpt names an export.
    """
    if not options.path_ckpt:
        run = find_run(run_options, trained=True, path_output=path_output)
        return TrainedWeights(*_in_folder(run.path, options), run, True)
    from efficientdet_pipeline.models.description import refuse_export

    path = Path(options.path_ckpt).expanduser()
    if not path.exists():
        raise MissingError(f"The checkpoint {options.path_ckpt!r} does not exist. Check --path_ckpt.")
    refuse_export(path)
    found = containing_run(path, path_output=path_output)
    if path.is_dir():
        return TrainedWeights(*_in_folder(path, options), found, found is not None and found.path == path)
    return TrainedWeights(path, _description(path.parent, options), found, False)


def load_trained(detector: keras.Model, weights: Path) -> None:
    """Loads trained weights into a detector, completely.

    Raises:
      DataError: a variable is missing or has another shape; a network with random parts is useless.
      CheckpointError: the checkpoint is damaged or of another network.
    """
    try:
        report = efficientdet.load_checkpoint(detector, weights, skip_mismatch=False)
    except efficientdet.CheckpointError as error:
        raise DataError(
            f"The weights do not fit the network and are not used. {error.finding} Leave out the options that "
            "describe another network (--model_name, --num_classes, --hparams), or name by --path_yaml the "
            f"{DESCRIPTION} that was written with them."
        ) from error
    logging.info("%s", report)


def _in_folder(folder: Path, options: CheckpointOptions) -> tuple[Path, Path]:
    for candidate in (folder / name for name in ("", "checkpoints/best", "checkpoints/last", "best", "last")):
        if (candidate / WEIGHTS).is_file():
            return candidate / WEIGHTS, _description(candidate, options)
    if (folder / "args.yaml").is_file() and not any(folder.glob("*.index")):
        raise MissingError(
            f"The run {folder} has no trained weights yet (no {WEIGHTS} in checkpoints/best or checkpoints/last). "
            "Train it first, or name another run by --run_name or --model_dir, or a checkpoint by --path_ckpt."
        )
    return folder, _description(folder, options)


def _description(folder: Path, options: CheckpointOptions) -> Path:
    return Path(options.path_yaml).expanduser() if options.path_yaml else folder / DESCRIPTION

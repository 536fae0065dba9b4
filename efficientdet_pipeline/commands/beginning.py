"""The beginning of a run: its folder, whether it may be continued, and what is said of its options."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from absl import logging

from efficientdet_pipeline.commands.network import describe, model_name
from efficientdet_pipeline.commands.photos import DEMO
from efficientdet_pipeline.commands.shards import shards_identity
from efficientdet_pipeline.console import log_to_file
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.hparams import network_overrides
from efficientdet_pipeline.options.reader import Sources
from efficientdet_pipeline.runs import identity, records
from efficientdet_pipeline.runs.folder import RunFolder, run_folder
from efficientdet_pipeline.runs.lock import locked
from efficientdet_pipeline.training import checkpoints


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """A run that may be worked on."""

    folder: RunFolder
    model_name: str
    identity: str
    """Of its data."""
    image_size: int | str
    """One number or WIDTHxHEIGHT of the network's canvas."""
    shape: dict[str, Any]
    finished: bool
    """Whether everything that is asked for is there already."""


@contextmanager
def begin(options: Any, read: Sources, hparams: Any) -> Iterator[Beginning]:
    """Opens the run that the options name, new or begun, and holds it."""
    name = model_name(options)
    overrides = network_overrides(options, hparams)
    # A wrong name is told before anything is written.
    height, width = describe(name, overrides, {}).config.image_size
    data = shards_identity(options)
    shape = identity.shaping(options, overrides, data)
    folder = run_folder(options, identity.run_name(name, shape))
    with locked(folder.path):
        if options.overwrite:
            _empty(folder)
        begun_with = records.read_json(folder.metadata).get("shaping")
        if begun_with is not None:
            identity.refuse_another(str(folder.path), begun_with, shape)
        log_to_file(folder.log)
        _tell(folder, read, hparams, options)
        records.write_args(folder.args, options, _sources(read, hparams))
        finished = _epochs_done(folder) >= options.num_epochs and (
            options.mode == "train" or (folder.metrics.exists() and (folder.export_path / "saved_model").exists())
        )
        yield Beginning(
            folder=folder,
            model_name=name,
            identity=data,
            image_size=width if width == height else f"{width}x{height}",
            shape=shape,
            finished=finished,
        )


def _epochs_done(folder: RunFolder) -> float:
    last = checkpoints.find_checkpoint(folder.last)
    return checkpoints.read_marker(last)["epoch"] if last else 0


def _empty(folder: RunFolder) -> None:
    """Empties a run's folder; refuses to empty anything else."""
    content = [path for path in folder.path.iterdir() if path.name != ".lock"]
    if content and not folder.args.exists():
        raise OptionsError(
            f"overwrite empties a run's folder, which holds args.yaml. Received {folder.path}, which holds "
            f"{content[0].name} and no args.yaml; choose another folder, or empty it by hand.",
            option="overwrite",
        )
    for path in content:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _sources(read: Sources, hparams: Any) -> dict[str, str]:
    return {name: given.source for name, given in {**hparams.options, **read.given}.items()}


def _tell(folder: RunFolder, read: Sources, hparams: Any, options: Any) -> None:
    logging.info("Run %s", folder.path)
    for name, source in _sources(read, hparams).items():
        logging.info("  %s = %s  (%s)", name, getattr(options, name), source)
    for name, value in hparams.network.items():
        logging.info("  network: %s = %s  (--hparams)", name, value)
    if getattr(options, "eval_master", ""):
        logging.warning("eval_master has no effect; it had none in google/automl either.")
    if getattr(options, "num_cores", None) is not None:
        logging.warning("num_cores has no effect: the devices are counted.")
    for name in ("tpu_zone", "gcp_project"):
        if getattr(options, name, ""):
            logging.warning("%s has no effect without a TPU.", name)
    demo = [name for name, given in read.given.items() if given.is_demo and name != "url_dataset"]
    if demo and options.url_dataset != DEMO:
        logging.warning(
            "Demo settings are in force on your own photos: %s. Delete the file's demo block, or set them by hand.",
            ", ".join(f"{name}={read.given[name].value}" for name in demo),
        )
    _warn_of_long_path(folder.path)


def _warn_of_long_path(path: Path) -> None:
    if len(str(path.resolve())) > 200:
        logging.warning("The run's path has over 200 characters, which Windows may refuse; try a shorter --workspace.")

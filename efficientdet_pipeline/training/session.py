"""Run session: opens a run directory, new or resumed, and checks its options."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from efficientdet_pipeline.console import log_to_file
from efficientdet_pipeline.data.dataset_info import shards_identity
from efficientdet_pipeline.models.build import describe_network, model_name
from efficientdet_pipeline.options.hparams import HparamsGiven, network_overrides
from efficientdet_pipeline.options.parser import Sources
from efficientdet_pipeline.options.schema import declarations
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.runs import metadata as records
from efficientdet_pipeline.runs import run_id
from efficientdet_pipeline.runs.metadata import log_options, sources_of
from efficientdet_pipeline.runs.ownership import held
from efficientdet_pipeline.runs.run_dir import RunFolder, run_folder
from efficientdet_pipeline.training import checkpoint_io


@dataclass(frozen=True, kw_only=True)
class RunSession:
    """An opened run."""

    folder: RunFolder
    model_name: str
    identity: str
    """Identity of its data."""
    image_size: int | str
    """One number or WIDTHxHEIGHT of the network's canvas."""
    shape: dict[str, Any]
    is_resumed: bool
    """Whether there is a checkpoint to resume from."""
    is_finished: bool
    """Whether the run has already finished with these options."""


@contextmanager
def start_or_resume_run(
    options: TrainOptions, read: Sources, hparams: HparamsGiven, *, is_chief: bool = True
) -> Iterator[RunSession]:
    """Opens and locks the run of the options, new or resumed.

    Args:
      is_chief: whether this process locks and writes it; the others of a
        process group only read.
    """
    name = model_name(options.model, options.pretrained.backbone_ref)
    overrides = network_overrides(options.model, hparams)
    # Report a wrong model name before anything is written.
    height, width = describe_network(name, overrides, {}).config.image_size
    data = shards_identity(options)
    image_size = width if width == height else f"{width}x{height}"
    shape = run_id.shaping(
        options,
        hparams.network,
        {
            "model_name": name,
            "backbone_ref": options.pretrained.backbone_ref or name,
            "image_size": str(image_size),
            "data": data,
        },
    )
    folder = run_folder(
        options.run,
        run_id.run_name(name, shape),
        path_output=options.path_output,
        output_path=options.data.conversion.output_path,
        path_metadata=options.data.conversion.path_metadata,
    )
    with held(folder, overwrite=options.data.conversion.overwrite) if is_chief else contextlib.nullcontext():
        before = records.read_json(folder.metadata)
        last = checkpoint_io.find_checkpoint(folder.last)
        previous_shape = before.get("shaping")
        # Before the first checkpoint, options may still be corrected.
        if previous_shape is not None and last is not None:
            defaults = {name: each.default for name, each in declarations(type(options)).items()}
            run_id.check_same_run(str(folder.path), previous_shape, shape, defaults)
        if is_chief:
            log_to_file(folder.log)
            log_options(folder.path, options, read, hparams)
            records.write_args(folder.args, options, sources_of(read, hparams))
        yield RunSession(
            folder=folder,
            model_name=name,
            identity=data,
            image_size=image_size,
            shape=shape,
            is_resumed=last is not None,
            is_finished=last is not None and _is_finished(before, options),
        )


def finished_with(options: TrainOptions) -> dict[str, Any]:
    """Returns the fields of metadata.json with the number of epochs and the patience that a mode finished with."""
    return {
        f"epochs_finished_by_{options.general.mode}": options.optimizer.num_epochs,
        "patience_at_the_end": options.checkpointing.patience,
    }


def _is_finished(metadata: dict[str, Any], options: TrainOptions) -> bool:
    had = metadata.get("patience_at_the_end", 0)
    # A run that may have stopped early continues with more patience.
    is_more_patient = had > 0 and not 0 < options.checkpointing.patience <= had
    return (
        metadata.get(f"epochs_finished_by_{options.general.mode}", 0) >= options.optimizer.num_epochs
        and not is_more_patient
    )

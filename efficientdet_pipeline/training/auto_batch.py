"""Automatic batch size, and the error message for a batch that does not fit in memory."""

import contextlib
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

from absl import logging

from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.errors import OptionsError, OutOfMemoryError
from efficientdet_pipeline.json_fields import integer_field
from efficientdet_pipeline.options.schema import flatten, replace
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.runs import metadata
from efficientdet_pipeline.system import is_out_of_memory
from efficientdet_pipeline.tasks import task_key
from efficientdet_pipeline.tasks.task import NetworkDescription
from efficientdet_pipeline.training import batch_probe, strategy
from efficientdet_pipeline.training.distributed import ProcessGroup
from efficientdet_pipeline.training.oom_watchdog import oom_watchdog
from efficientdet_pipeline.training.session import RunSession

MIN_STEPS_PER_EPOCH = 10
"""With fewer steps per epoch, the weights are updated too rarely, even if memory is free."""


def resolve_batch_size(
    options: TrainOptions, run_: RunSession, shards: Shards, network: NetworkDescription, process_group: ProcessGroup
) -> TrainOptions:
    """Returns the options with a batch size; `auto` resolves to the largest that fits, fixed for the whole run.

    Raises:
      OptionsError: not even one image per device fits.
    """
    if options.optimizer.batch_size:
        return options
    recorded = metadata.read_json(run_.folder.metadata) if _is_known(run_, process_group) else {}
    found = integer_field(recorded, "train_batch_size", 0)
    if not found:
        logging.info("batch_size=auto: running training steps to find the largest batch that fits.")
        examples = min(shards.num_train, options.num_examples_per_epoch or shards.num_train)
        max_batch = max(1, examples // MIN_STEPS_PER_EPOCH)
        found = batch_probe.largest_batch(_probe(options, shards, network, max_batch))
        if not found:
            raise OptionsError(
                "batch_size=auto found no batch: out of memory at one image per device. "
                "Reduce --image_size, use --grad_checkpoint, or choose a smaller --model_name.",
                option="batch_size",
            )
        limit = f", the largest with {MIN_STEPS_PER_EPOCH} steps per epoch" if found * 2 > max_batch else ""
        logging.info("batch_size=auto: %d images per step fit%s.", found, limit)
    return replace(options, batch_size=found)


def _is_known(run_: RunSession, process_group: ProcessGroup) -> bool:
    return run_.is_resumed or not process_group.is_chief


@contextmanager
def oom_handler(
    options: TrainOptions, shards: Shards, network: NetworkDescription, process_group: ProcessGroup
) -> Iterator[None]:
    """Converts an out-of-memory error to an error message with remedies.

    Raises:
      OutOfMemoryError: the batch does not fit.
    """
    half = max(1, options.optimizer.batch_size // 2)
    message = (
        f"The memory is too small for this batch. Received batch_size={options.optimizer.batch_size}; try "
        f"--batch_size={half}, --batch_size=auto for the largest that fits, --accumulate_steps=2, which computes the "
        "batch in two parts, or --grad_checkpoint. The same command resumes from the last checkpoint."
    )
    probe: dict[str, object] = {}
    if process_group.count == 1 and options.optimizer.batch_size > 1:
        probe = dataclasses.asdict(_probe(options, shards, network, options.optimizer.batch_size - 1))
    # An accelerator raises an error when its memory runs out; for CPU tensors, the system kills the process.
    may_be_killed = process_group.count == 1 and strategy.is_on_cpu()
    try:
        with oom_watchdog(message, probe) if may_be_killed else contextlib.nullcontext():
            yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(message, continuation=batch_probe.deferred_command(probe) if probe else ()) from error


def _probe(options: TrainOptions, shards: Shards, network: NetworkDescription, max_batch: int) -> batch_probe.Probe:
    return batch_probe.Probe(
        options=flatten(options),
        task=task_key(options.model),
        network=network.as_dict(),
        max_instances=shards.max_instances,
        max_batch=max_batch,
    )

"""--batch_size=auto, and what is said of a batch that does not fit."""

import contextlib
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from absl import logging
from efficientdet.config import DetectorConfig

from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.errors import OptionsError, OutOfMemoryError
from efficientdet_pipeline.runs import metadata
from efficientdet_pipeline.system import is_out_of_memory
from efficientdet_pipeline.training import batch_probe, strategy
from efficientdet_pipeline.training.distributed import ProcessGroup
from efficientdet_pipeline.training.oom_watchdog import oom_watchdog
from efficientdet_pipeline.training.session import RunSession

STEPS_AN_EPOCH = 10
"""A batch that leaves fewer learns too seldom, however much memory there is."""


def resolve_batch_size(
    options: Any, run_: RunSession, shards: Shards, config: DetectorConfig, company: ProcessGroup
) -> Any:
    """Returns the options with a batch size; where it is auto, the largest that fits, the same for all of a run.

    Raises:
      OptionsError: not even one photo a device fits.
    """
    if options.batch_size:
        return options
    found = metadata.read_json(run_.folder.metadata).get("train_batch_size") if _is_known(run_, company) else None
    if not found:
        logging.info("batch_size=auto: taking steps to see what fits.")
        examples = min(shards.num_train, options.num_examples_per_epoch or shards.num_train)
        most = max(1, examples // STEPS_AN_EPOCH)
        found = batch_probe.largest_batch(_probe(options, shards, config, most))
        if not found:
            raise OptionsError(
                "batch_size=auto found no batch: not one photo a device fits into the memory. "
                "Received a network that is too large for it; try a smaller --image_size, --grad_checkpoint, or a "
                "smaller --model_name.",
                option="batch_size",
            )
        limit = f", the most that leave {STEPS_AN_EPOCH} steps an epoch" if found * 2 > most else ""
        logging.info("batch_size=auto: %d photos a step fit%s.", found, limit)
    return dataclasses.replace(options, batch_size=int(found))


def _is_known(run_: RunSession, company: ProcessGroup) -> bool:
    return run_.begun or not company.is_chief


@contextmanager
def oom_handler(options: Any, shards: Shards, config: DetectorConfig, company: ProcessGroup) -> Iterator[None]:
    """Turns the end of the memory into a sentence.

    Raises:
      OutOfMemoryError: a batch did not fit.
    """
    half = max(1, options.batch_size // 2)
    message = (
        f"The memory is too small for this batch. Received batch_size={options.batch_size}; try "
        f"--batch_size={half}, --batch_size=auto for the most that fit, --accumulate_steps=2, which computes the "
        "batch in two parts, or --grad_checkpoint. The same command continues from the last checkpoint."
    )
    probe: dict[str, Any] = {}
    if company.count == 1 and options.batch_size > 1:
        probe = dataclasses.asdict(_probe(options, shards, config, options.batch_size - 1))
    # An accelerator says that its memory has run out; a system that gives all it has to a CPU's tensors kills.
    may_be_killed = company.count == 1 and strategy.is_on_cpu()
    try:
        with oom_watchdog(message, probe) if may_be_killed else contextlib.nullcontext():
            yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(message, continuation=batch_probe.later(probe) if probe else ()) from error


def _probe(options: Any, shards: Shards, config: DetectorConfig, most: int) -> batch_probe.Probe:
    return batch_probe.Probe(
        options=dataclasses.asdict(options),
        hparams=config.to_hparams(),
        max_instances=shards.max_instances,
        most=most,
    )

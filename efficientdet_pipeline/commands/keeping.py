"""How a run is kept: its plan from the options, and a keeper that knows how to evaluate, draw and tell."""

from functools import partial
from typing import Any

from absl import logging

from efficientdet_pipeline.commands.evidence import photos_of_step
from efficientdet_pipeline.commands.finishing import compared
from efficientdet_pipeline.commands.network import Network
from efficientdet_pipeline.commands.scoring import Scorer
from efficientdet_pipeline.commands.shards import Shards
from efficientdet_pipeline.data.batches import TrainingStream
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.evaluation import format_table
from efficientdet_pipeline.runs.folder import RunFolder
from efficientdet_pipeline.training.keeper import Keeper
from efficientdet_pipeline.training.plan import Places, Plan

EVALUATIONS_A_RUN = 10
PHOTOS_A_BOARD = 4


def plan_of(options: Any, shards: Shards) -> Plan:
    """Returns the shape of the run; refuses a batch that the data cannot fill."""
    examples = options.num_examples_per_epoch or shards.num_train
    if options.batch_size > shards.num_train or options.batch_size > examples:
        raise OptionsError(
            f"batch_size must not be larger than the training data. Received batch_size={options.batch_size} with "
            f"{min(examples, shards.num_train)} photos an epoch; try --batch_size={min(examples, shards.num_train)}.",
            option="batch_size",
        )
    steps = examples // options.batch_size
    plan = Plan(
        num_epochs=options.num_epochs,
        steps_per_epoch=steps,
        batch_size=options.batch_size,
        evaluate_every=options.map_freq or max(1, round(options.num_epochs / EVALUATIONS_A_RUN)),
        save_every=_save_every(options.save_freq, steps),
        keep=options.keep,
        patience=options.patience if options.mode == "traineval" else 0,
        max_bad_steps=options.max_bad_steps,
        grace_seconds=options.grace_seconds,
        steps_per_execution=options.steps_per_execution,
        profile=options.profile,
    )
    logging.info(
        "Training %d epochs of %d steps, %d photos a step.", plan.num_epochs, plan.steps_per_epoch, plan.batch_size
    )
    return plan


def _save_every(save_freq: str, steps_per_epoch: int) -> int:
    """Returns steps, or 0 for a saving by time."""
    return {"auto": 0, "epoch": steps_per_epoch}[save_freq] if save_freq.isalpha() else int(save_freq)


def keeper_of(
    plan: Plan, folder: RunFolder, network: Network, scorer: Scorer | None, stream: TrainingStream, num_partners: int
) -> Keeper:
    """Returns the keeper of a run; without a scorer it evaluates nothing."""
    places = Places(
        last=folder.last,
        best=folder.best,
        results=folder.results,
        curves=folder.curves,
        tensorboard=folder.tensorboard,
        incidents=folder.incidents,
        bad_steps=folder.bad_steps,
    )
    return Keeper(
        plan,
        places,
        evaluate=partial(_evaluated, scorer) if scorer is not None else None,
        write_network=network.write,
        draw=partial(compared, network, scorer, count=PHOTOS_A_BOARD) if scorer is not None else None,
        photos_of=partial(photos_of_step, stream, num_partners),
    )


def _evaluated(scorer: Scorer, epoch: int) -> dict[str, Any]:
    metrics = scorer()
    logging.info("epoch %d, validation:\n%s", epoch, format_table(metrics))
    return metrics

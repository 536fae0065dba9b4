"""Pretrained weights of a run: found before the data are read, loaded, and recorded."""

import contextlib
import dataclasses
import glob
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import efficientdet
import keras
from absl import logging
from efficientdet.automl.identify import backbone_of
from efficientdet.checkpoint import LoadReport
from efficientdet.checkpoint.archives import sha256_of
from efficientdet.checkpoint.locate import find
from efficientdet.checkpoint.summary import summarize_checkpoint
from efficientdet.errors import CheckpointError, CheckpointMismatchError, CheckpointUnavailableError

from efficientdet_pipeline.errors import MissingError, OptionsError
from efficientdet_pipeline.json_fields import object_field, text_field
from efficientdet_pipeline.models.weights_catalog import choose_weights, is_encoder, is_model
from efficientdet_pipeline.options.model import PretrainedOptions
from efficientdet_pipeline.system import cache_folder
from tfrmod.urls import redact_url


class StartWeights(NamedTuple):
    """Initial weights of a training."""

    option: str
    """Option that names them."""
    place: str
    """Path, URL or name for `load_checkpoint`; empty for random weights."""
    is_backbone: bool
    """Whether only the backbone is loaded, not neck and heads."""
    choice: str = ""
    """Choice of --pretrained_ckpt=auto and its reason, in a sentence; empty if the options name the weights."""


ModelsWith = Callable[[str], Sequence[str]]
"""Backbone → names of the networks with it, as --model_name takes them; empty where a task has none."""

CHOICE = "initial_weights_choice"
"""Field of metadata.json: the choice of the chief, which the other processes of a training follow."""


def check_pretrained(
    options: PretrainedOptions,
    model_name: str,
    *,
    cache_dir: str,
    is_published_model: bool = True,
    models_with: ModelsWith | None = None,
) -> StartWeights:
    """Returns the initial weights, downloaded if needed, after checking which network they belong to.

    It costs no more than loading, and reports a wrong path before all images are
    converted.

    With --pretrained_ckpt=auto it logs the choice and its reason, and falls back
    to random weights if nothing can be downloaded.

    Args:
      options: of the run.
      model_name: of the network.
      cache_dir: folder of the cache, or empty.
      is_published_model: whether the network is that of the name, not changed by --hparams.
      models_with: backbone → names of networks with it, for an error's advice; None: detectors.

    Raises:
      MissingError, CheckpointError, OptionsError: they do not exist, or do not fit.
    """
    start = _start(options, model_name, cache_dir)
    if start.choice:
        (logging.info if start.place else logging.warning)("%s", start.choice)
    if not start.place:
        return start
    with in_terms_of_options(options, start.option, models_with, can_exclude=False):
        try:
            found = find(start.place, checkpoint_cache(cache_dir))
        except ValueError as error:
            raise OptionsError(f"{error} (--{start.option})", option=start.option) from error
        _check_backbone(start.place, found.path, model_name if is_published_model else "", cache_dir)
    logging.info("Pretrained weights: %s (--%s).", found.path, start.option)
    if start.option != "pretrained_ckpt" and options.pretrained_ckpt == "none":
        what = "The backbone starts" if start.option == "backbone_ckpt" else "Training starts"
        logging.info("%s from --%s; --pretrained_ckpt=none has no effect beside it.", what, start.option)
    return start


def _check_backbone(place: str, path: Path, model_name: str, cache_dir: str) -> None:
    """Checks that weights can be read, and fit the model's backbone if a model is named.

    Raises:
      CheckpointMismatchError: they are of another backbone.
    """
    held = summarize_checkpoint(path, checkpoint_cache(cache_dir))
    if not is_model(model_name) and not is_encoder(model_name):
        return
    needed = backbone_of(model_name) if is_model(model_name) else model_name
    if held.backbones and needed not in held.backbones:
        owner = f" of {model_name}, which is" if needed != model_name else ""
        raise CheckpointMismatchError(
            f"{redact_url(place)} must contain the backbone{owner} {needed}. It looks like "
            f"{' or '.join(held.backbones)}.",
            held.detectors,
            held.backbones,
        )


def chosen_by_chief(
    options: PretrainedOptions, model_name: str, metadata: Mapping[str, object], *, cache_dir: str
) -> StartWeights:
    """Returns the initial weights that the chief chose, for another process.

    The caches of two machines may differ: only the chief chooses, and the others
    load its choice, or fail.

    Args:
      options: of the run.
      model_name: of the network.
      metadata: of the run, as the chief wrote it.
      cache_dir: folder of the cache, or empty.
    """
    recorded = object_field(metadata, CHOICE)
    if not recorded:
        return _start(options, model_name, cache_dir)
    return StartWeights(
        option=text_field(recorded, "option"),
        place=text_field(recorded, "place"),
        is_backbone=bool(recorded.get("is_backbone")),
        choice=text_field(recorded, "choice"),
    )


def choice_metadata(start: StartWeights) -> dict[str, object]:
    """Returns the field for metadata.json that `chosen_by_chief` reads; None if the options name the weights."""
    return {CHOICE: start._asdict() if start.choice else None}


def load_pretrained(
    detector: keras.Model, options: PretrainedOptions, start: StartWeights, *, cache_dir: str
) -> dict[str, object]:
    """Loads pretrained weights into a new detector, logs the result, and returns the fields for metadata.json.

    Args:
      detector: built.
      options: of the run.
      start: from `check_pretrained`, or `chosen_by_chief`.
      cache_dir: folder of the cache, or empty.
    """
    if not start.place:
        logging.info("Starting from random weights (--pretrained_ckpt=%s).", options.pretrained_ckpt)
        return {"pretrained": None, **({"initial_weights": start.choice} if start.choice else {})}
    reason = {"choice": start.choice} if start.choice else {}
    exclude = options.var_exclude_expr or None
    backbone = f"{detector.config.backbone_name}/"
    if start.is_backbone:
        # Only the backbone is loaded, whatever else the checkpoint contains.
        exclude = f"(?!{re.escape(backbone)})" + (f"|(?:{exclude})" if exclude else "")
    with in_terms_of_options(options, start.option):
        report = efficientdet.load_checkpoint(
            detector, start.place, exclude=exclude, cache_dir=checkpoint_cache(cache_dir)
        )
    logging.info("%s", _backbone_sentence(report, backbone) if start.is_backbone else report)
    return {
        "pretrained": {"option": start.option, "place": redact_url(start.place), **reason, **weights_record(report)}
    }


def has_heads(start: StartWeights, *, cache_dir: str) -> bool:
    """Returns whether initial weights include a trained neck and heads."""
    if not start.place or start.is_backbone or start.option == "hub_module_url":
        return False
    return not summarize_checkpoint(start.place, checkpoint_cache(cache_dir)).is_backbone


def _start(options: PretrainedOptions, model_name: str, cache_dir: str) -> StartWeights:
    for option in ("hub_module_url", "backbone_ckpt"):
        if place := getattr(options, option):
            return StartWeights(option, checkpoint_of_run(place), option == "backbone_ckpt")
    place = options.pretrained_ckpt
    if place == "auto":
        place = options.backbone_ref or model_name
    if options.pretrained_ckpt == "auto" and (is_model(place) or is_encoder(place)):
        chosen = choose_weights(place, cache_dir=checkpoint_cache(cache_dir))
        return StartWeights("pretrained_ckpt", chosen.place, chosen.is_backbone, str(chosen))
    return StartWeights("pretrained_ckpt", "" if place == "none" else checkpoint_of_run(place), False)


def checkpoint_of_run(place: str) -> str:
    """Returns the best checkpoint of a run's folder, else the last; other paths are returned unchanged."""
    for name in ("best", "last"):
        folder = Path(place).expanduser() / "checkpoints" / name
        if (folder / "model.weights.h5").is_file():
            return str(folder)
    return place


def checkpoint_cache(folder: str) -> Path | None:
    """Returns the folder of checkpoints; None means the library's default, which is shared."""
    return cache_folder(folder) / "checkpoints" if folder else None


@contextlib.contextmanager
def in_terms_of_options(
    options: PretrainedOptions, option: str, models_with: ModelsWith | None = None, *, can_exclude: bool = True
) -> Iterator[None]:
    """Adds the option that caused an error of the library, and options that help, in place of its arguments.

    Args:
      options: of the run.
      option: that names the weights.
      models_with: backbone → names of networks with it; None: detectors.
      can_exclude: whether --var_exclude_expr has an effect.
    """
    try:
        yield
    except CheckpointUnavailableError as error:
        raise CheckpointUnavailableError(f"{error} {_random_weights_advice(options, option)}") from error
    except FileNotFoundError as error:
        raise MissingError(f"{error} Check --{option}.") from error
    except CheckpointMismatchError as error:
        fitting: Sequence[str] = error.likely_models
        if models_with is not None:
            fitting = [name for backbone in error.likely_backbones for name in models_with(backbone)]
        models = " or ".join(f"--model_name={name}" for name in fitting)
        ways = [f"Try {models}"] if models else [f"Name weights of this network by --{option}"]
        ways += ["--var_exclude_expr leaves parts out"] if can_exclude else []
        raise CheckpointMismatchError(
            f"{error.finding} (--{option}) {'; '.join(ways)}.", error.likely_models, error.likely_backbones
        ) from error
    except CheckpointError as error:
        raise type(error)(f"{error.finding} (--{option})") from error


def _random_weights_advice(options: PretrainedOptions, option: str) -> str:
    if option == "pretrained_ckpt":
        ways = "with --pretrained_ckpt=none"
    else:
        ways = f"by leaving --{option} out"
        if options.pretrained_ckpt != "none":
            ways += " and setting --pretrained_ckpt=none"
    return f"Or start from random weights {ways}, with the other options of configs/small-data-scratch.config."


def _backbone_sentence(report: LoadReport, backbone: str) -> str:
    own = [name for name in report.loaded if name.startswith(backbone)]
    left_out = [name for name in report.skipped if name.startswith(backbone)]
    num_missing = sum(name.startswith(backbone) for name in report.missing)
    total = len(own) + len(left_out) + num_missing
    num_others = len(report.skipped) + len(report.missing) + len(report.loaded) - total
    reasons = [f"{len(left_out)} excluded by --var_exclude_expr"] if left_out else []
    reasons += [f"{num_missing} not in the checkpoint"] if num_missing else []
    rest = f" ({', '.join(reasons)})" if reasons else ""
    notes = "".join(f" {note}." for note in (report.origin.notes if report.origin else ()))
    return (
        f"Loaded the backbone, {len(own)} of {total} variables{rest}, from {report.source} ({report.kind}); "
        f"neck and heads ({num_others} variables) start from random weights.{notes}"
    )


def weights_record(report: LoadReport) -> dict[str, object]:
    """Returns what identifies these weights, and how many of them were loaded."""
    files = sorted(report.path.parent.glob(f"{glob.escape(report.path.name)}.*")) if not report.path.is_file() else []
    files = [path for path in files if re.search(r"\.(index|data-\d+-of-\d+)$", path.name)] or [report.path]
    return {
        "path": str(report.path),
        "sha256": {path.name: sha256_of(path) for path in files},
        "format": report.kind,
        "num_loaded": len(report.loaded),
        "num_skipped": len(report.skipped),
        "num_missing": len(report.missing),
        "num_left_over": len(report.left_over),
        **({"converted_from": dataclasses.asdict(report.origin)} if report.origin else {}),
    }

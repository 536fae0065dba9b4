"""The network of a run or a checkpoint: its description, and its trained weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import efficientdet
import yaml
from efficientdet.config import DetectorConfig

from efficientdet_pipeline.errors import MissingError, OptionsError
from efficientdet_pipeline.options.hparams import network_overrides
from efficientdet_pipeline.runs.folder import RunFolder, find_run
from tfrmod import atomic

DEFAULT_MODEL = "efficientdet-d0"


@dataclass(frozen=True)
class Network:
    """A detector's description as it lies beside its weights."""

    config: DetectorConfig
    hparams: dict[str, Any]
    """What differs from the model's own hyper-parameters."""
    label_map: dict[int, str]

    def write(self, path: Path) -> None:
        """Writes the description as hyper-parameters, which --hparams reads too."""
        content = {**self.config.to_hparams(), "label_map": self.label_map}
        atomic.write_file(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def model_name(options: Any) -> str:
    """Returns the network's name; each of model_name and backbone_ref defaults to the other."""
    return options.model_name or getattr(options, "backbone_ref", "") or DEFAULT_MODEL


def describe(name: str, overrides: Mapping[str, Any], label_map: Mapping[int, str]) -> Network:
    """Returns the network of a name with overrides.

    Raises:
      OptionsError: no such network, or overrides that do not go together.
    """
    try:
        return Network(efficientdet.get_config(name, **overrides), dict(overrides), dict(label_map))
    except ValueError as error:
        raise OptionsError(str(error)) from None


def read_network(path: Path, options: Any, hparams: Any) -> Network:
    """Returns the network described in a YAML file; options and --hparams stand above the file."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        label_map = {int(key): str(name) for key, name in (content.pop("label_map", None) or {}).items()}
    except FileNotFoundError:
        raise MissingError(
            f"There is no description of the network at {path}. It lies beside every checkpoint of ours as "
            "hparams_config.yaml; name it by --path_yaml."
        ) from None
    except (yaml.YAMLError, AttributeError, ValueError, RecursionError) as error:
        raise OptionsError(f"{path} must be a YAML file of hyper-parameters. Reading it failed: {error}.") from None
    asked = options.model_name or getattr(options, "model_name_", "")
    described = content.pop("name", asked or DEFAULT_MODEL)
    if asked and asked != described:
        raise OptionsError(
            f"model_name must be the network of the checkpoint, {described} (says {path}). Received {asked}; "
            "leave it out.",
            option="model_name",
        )
    from efficientdet.hparams import HPARAMS

    network = {key: value for key, value in content.items() if key in HPARAMS and HPARAMS[key].owner == "network"}
    return describe(described, {**network, **network_overrides(options, hparams)}, label_map)


def trained_weights(options: Any) -> tuple[Path, Path, RunFolder | None]:
    """Returns (weights, description of the network, run) that path_ckpt or the run's options name.

    Raises:
      MissingError: there is none.
    """
    if not options.path_ckpt:
        run = find_run(options)
        return *_in_folder(run.path, options), run
    path = Path(options.path_ckpt)
    if not path.exists():
        raise MissingError(f"There is no checkpoint {options.path_ckpt!r}. Check --path_ckpt.")
    if path.is_dir():
        return *_in_folder(path, options), None
    return path, Path(options.path_yaml or path.parent / "hparams_config.yaml"), None


def _in_folder(folder: Path, options: Any) -> tuple[Path, Path]:
    for candidate in (
        folder,
        folder / "checkpoints" / "best",
        folder / "checkpoints" / "last",
        folder / "best",
        folder / "last",
    ):
        weights = candidate / "model.weights.h5"
        if weights.is_file():
            return weights, Path(options.path_yaml or candidate / "hparams_config.yaml")
    return folder, Path(options.path_yaml or folder / "hparams_config.yaml")

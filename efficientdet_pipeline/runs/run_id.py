"""Identity of a run: the options that shape the training, the network, and the data."""

import hashlib
import json
from collections.abc import Mapping

from efficientdet_pipeline.addresses import address_of
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.schema import Options, declarations, flatten
from tfrmod.urls import redact_url, url_id


def shaping(options: Options, network: Mapping[str, object], resolved: Mapping[str, object]) -> dict[str, object]:
    """Returns everything that shapes the training, by name.

    Args:
      network: the network's hyper-parameters that differ from the defaults.
      resolved: values that replace those given, so that an omitted default and the
        same explicit value are one run; and the identity of the images.
    """
    declared = declarations(type(options))
    values: dict[str, object] = {name: value for name, value in flatten(options).items() if declared[name].shapes}
    values |= {f"hparams.{name}": value for name, value in network.items()}
    values |= resolved
    # A local copy has another path on each machine.
    values = {
        name: _without_secrets(address_of(value)) if isinstance(value, str) else value for name, value in values.items()
    }
    plain: dict[str, object] = json.loads(json.dumps(values, default=str))
    return plain


def _without_secrets(value: str) -> str:
    """Returns a URL without secrets, with a hash that distinguishes URLs that look alike; other text unchanged."""
    shown = redact_url(value)
    return value if shown == value else f"{shown} ({url_id(value)[:12]})"


def run_name(model_name: str, shape: Mapping[str, object]) -> str:
    """Returns `<model>-<8 hex>`."""
    digest = hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()
    return f"{model_name}-{digest[:8]}"


def check_same_run(
    folder: str, begun_with: Mapping[str, object], asked_for: Mapping[str, object], defaults: Mapping[str, object]
) -> None:
    """Raises OptionsError if a folder's run was started with other shaping options, and lists them.

    Args:
      defaults: of the options; an option unknown to the run's version had its default.
    """
    begun_with = {**{name: defaults[name] for name in asked_for if name in defaults}, **begun_with}
    names = [*asked_for, *(name for name in begun_with if name not in asked_for)]
    differences = [
        f"{name}: {begun_with.get(name, 'not set')!r} then, {asked_for.get(name, 'not set')!r} now"
        for name in names
        if begun_with.get(name) != asked_for.get(name)
    ]
    if differences:
        raise OptionsError(
            f"The run in {folder} was started with other options: {'; '.join(differences)}. Resume it with the same "
            "options, choose another --run_name, or restart it with --overwrite."
        )

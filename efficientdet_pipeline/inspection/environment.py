"""Environment of the program: versions, devices, required packages, and optional ones with what is missing."""

import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement

from efficientdet_pipeline.options.help import PACKAGE, checkout_project, version_text
from efficientdet_pipeline.system import free_memory
from tfrmod.counted import counted

_REQUIRED = ""


@dataclass(frozen=True)
class PackageState:
    """A package that the program requires or can use."""

    name: str
    wanted: str
    """Versions that are accepted, such as >=1.17."""
    installed: str
    """Version; empty if unknown."""

    @property
    def is_missing(self) -> bool:
        """Returns whether the package is not installed, or in another version."""
        return not self.installed or not Requirement(f"{self.name}{self.wanted}").specifier.contains(
            self.installed, prereleases=True
        )


def package_states(requirements: Iterable[str]) -> dict[str, list[PackageState]]:
    """Returns the packages by extra, those that are always required under the empty name.

    Args:
      requirements: as in the metadata of a distribution, such as `onnx>=1.17; extra == "onnx"`.
    """
    found: dict[str, list[PackageState]] = {_REQUIRED: []}
    for text in requirements:
        try:
            wanted = Requirement(text)
        except InvalidRequirement:
            continue
        extra = str(wanted.marker).partition('extra == "')[2].rstrip('"') if wanted.marker else _REQUIRED
        state = PackageState(wanted.name, str(wanted.specifier), _installed(wanted.name))
        found.setdefault(extra, []).append(state)
    return found


def program_requirements() -> list[str]:
    """Returns the requirements of the program: of its checkout, else of the installed distribution."""
    project = checkout_project()
    if project is None:
        return metadata.requires(PACKAGE) or []
    found = _texts(project.get("dependencies"))
    extras = project.get("optional-dependencies")
    for extra, members in extras.items() if isinstance(extras, dict) else ():
        found += [f'{text}; extra == "{extra}"' for text in _texts(members)]
    return found


def _texts(values: object) -> list[str]:
    return [str(value) for value in values] if isinstance(values, list) else []


def environment_table() -> str:
    """Returns the text of `--mode=inspect --what=environment`."""
    states = package_states(program_requirements())
    lines = [version_text(), "", *_rows(_machine()), "", "required packages"]
    lines += [f"  {_described(state)}" for state in states.pop(_REQUIRED)]
    lines += ["", "extras"]
    for extra, members in sorted(states.items()):
        missing = [state.name for state in members if state.is_missing]
        state = f"missing {', '.join(missing)}: pip install '{PACKAGE}[{extra}]'" if missing else "installed"
        lines.append(f"  {extra:<10} {state}")
        if not missing:
            lines[-1] += f" ({', '.join(f'{each.name} {each.installed}' for each in members)})"
    return "\n".join(lines)


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _described(state: PackageState) -> str:
    if not state.is_missing:
        return f"{state.name} {state.installed}"
    have = f"{state.installed} is installed" if state.installed else "missing"
    return f"{state.name}: {have}; pip install '{state.name}{state.wanted}'"


def _machine() -> dict[str, str]:
    import keras
    import tensorflow as tf

    devices = [device.name.removeprefix("/physical_device:") for device in tf.config.list_physical_devices()]
    found = {
        "system": platform.platform(),
        "processor": f"{counted(os.cpu_count() or 1, 'core')}, {free_memory() / 2**30:.1f} GiB of memory available",
        "backend": keras.backend.backend(),
        "TensorFlow's devices": ", ".join(devices),
    }
    if keras.backend.backend() == "jax":
        import jax

        found["JAX's devices"] = ", ".join(map(str, jax.devices()))
    return found


def _rows(values: Mapping[str, str]) -> list[str]:
    return [f"{name:<21} {value}" for name, value in values.items()]

"""Options shared by all modes, and options that name a run's folder."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.schema import option


@dataclass(frozen=True, kw_only=True)
class GeneralOptions:
    """General."""

    mode: str = option("traineval")
    """Mode to run; `--help` lists the modes."""
    debug: bool = option(False)
    """Log at debug level, show tracebacks, and run the model eagerly (slow)."""
    traceback: bool = option(False)
    """Show the traceback of an error below its message."""

    def __post_init__(self) -> None:
        """Checks what needs no look at the data; each class checks its own fields."""
        for name, value in vars(self).items():
            is_finite = not isinstance(value, float) or math.isfinite(value)
            check(is_finite, name, value, "a finite number", "leave it out for the default")

    def without_effect(self) -> dict[str, str]:
        """Returns the options that are not read beside the others given, each with the reason.

        `hparams` stands for the hyper-parameters of the network in --hparams.
        """
        return {}

    @classmethod
    def implied(cls, given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Returns what options given say of others: {option that says it: {option: value}}, the weaker first."""
        del given
        return {}


@dataclass(frozen=True, kw_only=True)
class SeedOptions(GeneralOptions):
    """Random seed."""

    tf_random_seed: int = option(111111, aliases=("seed",), shapes=True)
    """Random seed of the split, weight initialization, shuffling and augmentation."""

    def __post_init__(self) -> None:
        """Checks the seed."""
        super().__post_init__()
        check(0 <= self.tf_random_seed < 2**32, "tf_random_seed", self.tf_random_seed, "from 0 to 2^32 - 1", "try 1")


NAMES_A_RUN = ("workspace", "run_name", "model_dir", "model_ckpts")
"""Options that name a run."""


@dataclass(frozen=True, kw_only=True)
class RunOptions(GeneralOptions):
    """Run folder."""

    workspace: str = option("runs", path="path")
    """Folder of all runs; each run has a subfolder."""
    run_name: str = option("")
    """Name of the run's folder. Default: `<model>-<hash>`, with 8 hexadecimal digits of a hash of the options that
    affect training."""
    model_dir: str = option("", path="path")
    """Folder of the run, instead of workspace and run_name."""
    model_ckpts: str = option("", path="path")
    """Output root: the run's folder is ROOT/model, the export is written to ROOT/freeze_model."""

    def without_effect(self) -> dict[str, str]:
        """Returns the options that name the run's folder in another way than the one given."""
        if self.model_dir:
            return super().without_effect() | {"workspace": "model_dir names the run's folder"}
        names = ("workspace", "run_name") if self.model_ckpts else ()
        return super().without_effect() | dict.fromkeys(names, "model_ckpts names the run's folder")

    def __post_init__(self) -> None:
        """Checks the run's name."""
        super().__post_init__()
        name = self.run_name
        is_plain = not set(name) & set("/\\\0") and name not in {".", ".."} and name == name.strip()
        expected = "a name without slashes and outer spaces"
        check(is_plain, "run_name", name, expected, "give the folder by --model_dir or --workspace")
        for name in ("workspace", "model_dir", "model_ckpts"):
            value = getattr(self, name)
            advice = "mount the bucket; Vertex AI has gs://BUCKET at /gcs/BUCKET"
            check("://" not in value, name, value, "a folder of this machine", advice)
        if self.model_dir and self.run_name:
            raise OptionsError(
                f"model_dir is the run's folder itself, run_name a name in the workspace; received both "
                f"(model_dir={self.model_dir!r}, run_name={self.run_name!r}). Give one of them.",
                option="run_name",
            )


def check(holds: bool, name: str, received: Any, expected: str, advice: str) -> None:
    """Raises OptionsError unless `holds`, in the form: expected, received, advice."""
    if not holds:
        raise OptionsError(f"{name} must be {expected}. Received {received!r}; {advice}.", option=name)


def check_choice(name: str, received: str, choices: tuple[str, ...]) -> None:
    """Raises OptionsError with the nearest name where `received` is none of `choices`."""
    if received in choices:
        return
    known = ", ".join(choice or "''" for choice in choices)
    near = difflib.get_close_matches(received, choices, n=1, cutoff=0.4)
    advice = f"did you mean {near[0]}?" if near else "choose one of them."
    raise OptionsError(f"{name} must be one of {known}. Received {received!r}; {advice}", option=name)

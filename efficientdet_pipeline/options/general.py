"""Options shared by all modes, and options that name a run's folder."""

from dataclasses import dataclass

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.schema import Options, check, check_choice, option


@dataclass(frozen=True, kw_only=True)
class GeneralOptions(Options):
    """General."""

    mode: str = option("traineval", "Mode to run; `--help` lists the modes.")
    debug: bool = option(False, "Log at debug level, show tracebacks, and run the model eagerly (slow).")
    traceback: bool = option(False, "Show the traceback of an error below its message.")
    log_format: str = option(
        "text",
        "Log format: text, or json: one JSON object per line on stdout (time, level, message; for "
        "an epoch, event and its values).",
        choices=("text", "json"),
    )

    def __post_init__(self) -> None:
        """Checks the log format."""
        super().__post_init__()
        check_choice("log_format", self.log_format, ("text", "json"))


@dataclass(frozen=True, kw_only=True)
class SeedOptions(Options):
    """Random seed."""

    tf_random_seed: int = option(
        111111,
        "Random seed of the split, weight initialization, shuffling and augmentation.",
        aliases=("seed",),
        shapes=True,
    )

    def __post_init__(self) -> None:
        """Checks the seed."""
        super().__post_init__()
        check(0 <= self.tf_random_seed < 2**32, "tf_random_seed", self.tf_random_seed, "from 0 to 2^32 - 1", "try 1")


@dataclass(frozen=True, kw_only=True)
class ModeOptions(Options):
    """Options of a mode."""

    general: GeneralOptions

    @property
    def keras_backend(self) -> str | None:
        """Returns --backend; None for a mode that runs on TensorFlow only."""
        return None


NAMES_A_RUN = ("workspace", "run_name", "model_dir", "model_ckpts")
"""Options that name a run."""


@dataclass(frozen=True, kw_only=True)
class RunOptions(Options):
    """Run folder."""

    workspace: str = option("runs", "Folder of all runs; each run has a subfolder.", path="path")
    run_name: str = option(
        "",
        "Name of the run's folder. Default: `<model>-<hash>`, with 8 hexadecimal digits of a hash of the "
        "options that affect training.",
    )
    model_dir: str = option("", "Folder of the run, instead of workspace and run_name.", path="path")
    model_ckpts: str = option(
        "",
        "Output root: the run's folder is ROOT/model, the export is written to ROOT/freeze_model.",
        path="path",
    )

    def without_effect(self) -> dict[str, str]:
        """Returns the options that are overridden by another name of the run's folder."""
        if self.model_dir:
            return {"workspace": "model_dir names the run's folder"}
        names = ("workspace", "run_name") if self.model_ckpts else ()
        return dict.fromkeys(names, "model_ckpts names the run's folder")

    def __post_init__(self) -> None:
        """Checks the run's name."""
        super().__post_init__()
        name = self.run_name
        is_plain = not set(name) & set("/\\\0") and name not in {".", ".."} and name == name.strip()
        expected = "a name without slashes or surrounding spaces"
        check(is_plain, "run_name", name, expected, "set the folder by --model_dir or --workspace")
        for name in ("workspace", "model_dir", "model_ckpts"):
            value = getattr(self, name)
            advice = "addresses of buckets begin with gs:// or s3://"
            check("://" not in value, name, value, "a folder of this machine", advice)
        if self.model_dir and self.run_name:
            raise OptionsError(
                f"model_dir is the run's folder, run_name a name in the workspace; received both "
                f"(model_dir={self.model_dir!r}, run_name={self.run_name!r}). Give one of them.",
                option="run_name",
            )

"""Options of --mode=tune."""

from dataclasses import dataclass

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.schema import Options, check, check_choice, option
from efficientdet_pipeline.options.training import TrainOptions

PRUNERS = ("median", "none")
SAMPLERS = ("tpe", "random")
OF_THE_STUDY = (
    *("workspace", "run_name", "model_dir", "model_ckpts", "output_path", "path_metadata"),
    *("formats", "calibration_images", "analysis", "doctor", "overwrite", "path_output"),
)
"""Training options that the study sets for its trials."""


@dataclass(frozen=True, kw_only=True)
class StudyOptions(Options):
    """Hyperparameter search."""

    space: str = option(
        "",
        "YAML file with the options to search: `learning_rate: {low: 0.001, high: 0.1, log: true}`, "
        "`optimizer: [sgd, adam]`, `hparams.KEY: …` for the network's.",
        path="path",
    )
    study_dir: str = option("tuning", "Folder of the study: its trials, table and plot.", path="path")
    num_trials: int = option(20, "Number of trials of the study, including earlier ones.")
    pruner: str = option(
        "median",
        "median: a trial stops early if its best AP so far is below the median of the earlier trials at the same "
        "epoch. "
        "none: all trials are completed.",
        choices=PRUNERS,
    )
    prune_after: int = option(1, "Minimum number of epochs of a trial.")
    startup_trials: int = option(4, "Number of initial trials with random values, which are never pruned.")
    sampler: str = option(
        "tpe", "Sampling of values: tpe (near those of the best trials so far) or random.", choices=SAMPLERS
    )

    def __post_init__(self) -> None:
        """Checks the numbers and names."""
        super().__post_init__()
        if not self.space:
            raise OptionsError(
                "space must name a YAML file with the options to search. Received nothing; try --space=space.yaml "
                "(docs/tuning.md has an example).",
                option="space",
            )
        check(bool(self.study_dir.strip()), "study_dir", self.study_dir, "a folder", "try tuning")
        check(self.num_trials >= 1, "num_trials", self.num_trials, "at least 1", "try 20")
        check(self.prune_after >= 0, "prune_after", self.prune_after, "0 or more", "try 1")
        check(self.startup_trials >= 1, "startup_trials", self.startup_trials, "at least 1", "try 4")
        check_choice("pruner", self.pruner, PRUNERS)
        check_choice("sampler", self.sampler, SAMPLERS)

    def without_effect(self) -> dict[str, str]:
        """Returns prune_after if nothing is pruned."""
        return {"prune_after": "--pruner=none disables pruning"} if self.pruner == "none" else {}


@dataclass(frozen=True, kw_only=True)
class TuneOptions(TrainOptions):
    """Training."""

    study: StudyOptions

    def without_effect(self) -> dict[str, str]:
        """Returns the options that the study sets for its trials, and those without effect in a training."""
        return super().without_effect() | dict.fromkeys(OF_THE_STUDY, "each trial has a folder in study_dir")

"""Options of --mode=verify."""

from dataclasses import dataclass

from efficientdet_pipeline.options.general import NAMES_A_RUN, ModeOptions, RunOptions
from efficientdet_pipeline.options.schema import check, option


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(ModeOptions):
    """Verification of shards."""

    run: RunOptions

    file_pattern: str = option(
        "",
        "Glob of shards, or the folder of a manifest. Default: the shards of the run given by name, otherwise "
        "of the latest run.",
        path="globs",
    )
    output_path: str = option("", "Folder of the shards, as given to --mode=dataset.", path="path")
    num_workers: int = option(0, "Number of worker processes that read shards. 0: one per CPU core.")

    def without_effect(self) -> dict[str, str]:
        """Returns the options that name a run, if shards are given."""
        place = "file_pattern" if self.file_pattern else "output_path"
        names = NAMES_A_RUN if self.file_pattern or self.output_path else ()
        return dict.fromkeys(names, f"{place} names the shards")

    def __post_init__(self) -> None:
        """Checks the number of processes, and that one source is given."""
        super().__post_init__()
        check(self.num_workers >= 0, "num_workers", self.num_workers, "0 or more", "0 uses one per CPU core")
        is_one = not (self.file_pattern and self.output_path)
        check(is_one, "file_pattern", self.file_pattern, "left out where output_path is given", "give one of them")

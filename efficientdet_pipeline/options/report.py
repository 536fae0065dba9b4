"""Options of --mode=report and --mode=compare."""

from dataclasses import dataclass

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.general import ModeOptions, RunOptions
from efficientdet_pipeline.options.schema import check, option


@dataclass(frozen=True, kw_only=True)
class ReportOptions(ModeOptions):
    """Report of a run."""

    run: RunOptions

    serve: bool = option(
        False,
        "Serve the report on a local address, rendered on each request, also during training. Ctrl-C stops the server.",
    )
    port: int = option(0, "With serve: port number. 0: any free port.")
    refresh_seconds: int = option(
        15, "With serve: interval in seconds at which the browser reloads the page. 0: never."
    )

    def without_effect(self) -> dict[str, str]:
        """Returns the options of serve if it is not given."""
        return {} if self.serve else dict.fromkeys(("port", "refresh_seconds"), "serve is not given")

    def __post_init__(self) -> None:
        """Checks the port and the interval."""
        super().__post_init__()
        check(0 <= self.port < 2**16, "port", self.port, "0 to 65535", "0 takes any free port")
        check(self.refresh_seconds >= 0, "refresh_seconds", self.refresh_seconds, "0 or more", "try 15")


@dataclass(frozen=True, kw_only=True)
class CompareOptions(ModeOptions):
    """Comparison of runs."""

    runs: str = option(
        "",
        "Runs to compare, the baseline first: folders of runs or of evaluations, or names in the workspace, "
        "comma-separated; or as words after all flags.",
        positional=True,
    )
    workspace: str = option("runs", "Folder of all runs; each run has a subfolder.", path="path")
    compare_dir: str = option("comparison", "Folder for the page (index.html).", path="path")

    @property
    def names(self) -> list[str]:
        """Returns the runs, the baseline first."""
        return [word for word in map(str.strip, self.runs.split(",")) if word]

    def __post_init__(self) -> None:
        """Checks that there are at least two runs."""
        super().__post_init__()
        if len(self.names) < 2:
            raise OptionsError(
                f"runs must name two runs or more. Received {self.runs or 'nothing'!r}; try "
                "`--mode=compare runs/a runs/b`, or --runs=a,b for runs in the workspace.",
                option="runs",
            )

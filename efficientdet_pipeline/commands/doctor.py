"""--mode=doctor: dataset checks, a report of the issues, and optionally a corrected copy."""

from pathlib import Path

from absl import logging

from efficientdet_pipeline.console import print_next_command, say
from efficientdet_pipeline.doctor import fix, report
from efficientdet_pipeline.doctor.check_data import check_data
from efficientdet_pipeline.doctor.issue import Severity, worst_severity
from efficientdet_pipeline.errors import ExitCode
from efficientdet_pipeline.options.doctor import DoctorOptions
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.parser import Sources
from efficientdet_pipeline.runs.output_files import check_output_json

EXIT_CODES = {Severity.NOTE: ExitCode.DONE, Severity.WARNING: ExitCode.WARNINGS, Severity.ERROR: ExitCode.DATA}


def run(options: DoctorOptions, read: Sources, hparams: HparamsGiven) -> ExitCode:
    """Checks the data that the options name; the exit code is that of the worst issue."""
    if options.report and not options.json:
        check_output_json(Path(options.report), {"verdict", "findings"}, option="report")
    checked = check_data(options, read, hparams)
    stats, plan, issues, fixed = checked.stats, checked.plan, checked.issues, checked.fixed
    if options.json:
        print(report.as_json(stats, plan, issues, title=checked.title, fixed=fixed), flush=True)
    else:
        content = report.as_json(stats, plan, issues, title=checked.title, fixed=fixed)
        full = report.write_full_list(options.report, issues, content)
        say(report.render_text(stats, plan, issues, title=checked.title, full=full))
        if fixed is not None:
            logging.info("\n%s %s", report.describe_fixed_dataset(fixed), _copy_location(Path(options.fix)))
            print_next_command(*_next_arguments(options))
    return EXIT_CODES[worst_severity(issues)]


def _copy_location(copy: Path) -> str:
    """Returns the location of the copy, and the option that keeps its class ids."""
    label_map = copy / fix.LABEL_MAP
    keeping = f" Keep its class ids with --label_map={label_map}." if label_map.exists() else ""
    return f"It is in {copy}.{keeping}"


def _next_arguments(options: DoctorOptions) -> list[str]:
    """Returns the command that checks the corrected copy like its original."""
    label_map = Path(options.fix) / fix.LABEL_MAP
    given = {
        "label_map": label_map if label_map.exists() else "",
        "train_set": options.images.train_set,
        "val_set": options.images.val_set,
    }
    words = [f"--{name}={value}" for name, value in given.items() if value]
    return ["--mode=doctor", f"--url_dataset={options.fix}", *words]

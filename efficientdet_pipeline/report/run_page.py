"""Report of a run: its folder's contents, evaluation, issues and commands."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from efficientdet_pipeline.console import command_line
from efficientdet_pipeline.data.record_images import RecordImages
from efficientdet_pipeline.evaluation.class_evaluation import ClassEvaluation, read_class_evaluation
from efficientdet_pipeline.evaluation.evaluation_file import SavedEvaluation, read_evaluation
from efficientdet_pipeline.options.schema import declarations
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.report.contents import Command, Finding, ReportContents, Severity
from efficientdet_pipeline.report.evaluation_folder import EvaluationFolder, Findings, analyse_evaluation
from efficientdet_pipeline.report.gallery import gallery
from efficientdet_pipeline.report.page import write_report
from efficientdet_pipeline.report.run_contents import run_contents
from efficientdet_pipeline.runs.metadata import read_args, read_json
from efficientdet_pipeline.runs.run_dir import RunFolder
from tfrmod.counted import counted
from tfrmod.problems import CODES, FAULTS

FINDINGS = "findings.json"
_SEVERITIES: tuple[Severity, ...] = ("note", "warning", "error")
_FACTS = {
    "checkpoint": "Evaluated",
    "epoch": "Epoch of the evaluated weights",
    "data": "Evaluated on",
    "views": "Views of each image",
    "milliseconds": "Inference per image",
}
LINKS = ("metrics.json", "thresholds.yaml", "label_errors.csv", "results.csv", "args.yaml", "log.txt")


def write_run_page(run: RunFolder, findings: Findings | ClassEvaluation | None = None) -> Path:
    """Writes the page of a run into its folder and returns it.

    Args:
      run: its folder.
      findings: of its evaluation; None reads them from the folder.
    """
    return write_report(EvaluationFolder(run.path).report, run_page_contents(run, findings))


def run_page_contents(
    run: RunFolder, findings: Findings | ClassEvaluation | None = None, *, with_saved: bool = True
) -> ReportContents:
    """Returns all that the page of a run shows.

    Args:
      run: its folder.
      findings: of its evaluation.
      with_saved: whether to read them from the folder if None.
    """
    folder = EvaluationFolder(run.path)
    if findings is None and with_saved:
        findings = saved_findings(folder)
    contents = dataclasses.replace(
        run_contents(run),
        findings=[*_recorded_findings(folder.report / FINDINGS), *_conversion_findings(run.manifest)],
        commands=run_commands(run),
        links={name: f"../{name}" for name in LINKS if (run.path / name).is_file()},
    )
    return contents if findings is None else with_evaluation(contents, findings)


def saved_findings(folder: EvaluationFolder) -> Findings | ClassEvaluation | None:
    """Returns the evaluation that a folder holds, of boxes or by classes; None where there is none."""
    if folder.saved.is_file():
        return analyse_evaluation(read_evaluation(folder.saved))
    return read_class_evaluation(folder.by_class) if folder.by_class.is_file() else None


def with_evaluation(contents: ReportContents, findings: Findings | ClassEvaluation) -> ReportContents:
    """Returns the contents of a page with an evaluation: its sections, gallery, label errors and facts."""
    if isinstance(findings, ClassEvaluation):
        facts = [*_facts_of(findings.facts), ("Evaluated images", f"{findings.num_images:,}")]
        metric = findings.metrics.primary
        return dataclasses.replace(contents, facts=[*contents.facts, *facts], by_class=findings, exports_metric=metric)
    saved = findings.saved
    images = RecordImages(saved.shards, saved.numbers)
    gone = "The evaluated images are missing from their original location, so the gallery is empty."
    evaluation = ReportContents(
        "",
        facts=evaluation_facts(saved),
        analysis=findings.analysis,
        gallery=gallery(findings.analysis, images, file_names=saved.file_names),
        label_errors=findings.rows,
        num_label_errors=findings.num_label_errors,
        warnings=[] if images.are_there else [gone],
    )
    return contents.joined(evaluation)


def evaluation_facts(saved: SavedEvaluation) -> list[tuple[str, str]]:
    """Returns (label, value) of what was evaluated on what."""
    facts = _facts_of(saved.facts)
    num_images, num_objects = len(saved.instances.source_ids), len(saved.instances.truth)
    return [*facts, ("Evaluated images", f"{num_images:,} with {counted(num_objects, 'object')}")]


def _facts_of(facts: Mapping[str, str | float]) -> list[tuple[str, str]]:
    return [(label, _fact(name, facts[name])) for name, label in _FACTS.items() if name in facts]


def _fact(name: str, value: str | float) -> str:
    if name == "milliseconds" and isinstance(value, int | float):
        return f"{value:.1f} ms"
    return f"{value:g}" if isinstance(value, float) else str(value)


def write_recorded_findings(folder: Path, findings: Sequence[Finding]) -> None:
    """Writes the issues of the data checks before a training, for the report at its end."""
    from tfrmod import fileio

    folder.mkdir(parents=True, exist_ok=True)
    content = [dataclasses.asdict(each) for each in findings]
    fileio.write_file(folder / FINDINGS, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def _recorded_findings(path: Path) -> list[Finding]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [Finding(**{name: str(value) for name, value in each.items()}) for each in content]  # type: ignore[arg-type]
    except (OSError, ValueError, TypeError, AttributeError):
        return []


def _conversion_findings(manifest: Path) -> list[Finding]:
    """Returns the conversion problems: what was left out of the shards or changed, and why."""
    problems = read_json(manifest).get("problems")
    found = []
    for code, problem in problems.items() if isinstance(problems, dict) else ():
        if code in CODES and isinstance(problem, dict):
            files = [str(name) for name in problem.get("files", ())][:3]
            severity: Severity = "warning" if code in FAULTS else "note"
            title = f"{problem.get('count', '?')} × {CODES[code]}"
            found.append(Finding(severity, title, f"For example {', '.join(files)}." if files else ""))
    return sorted(found, key=lambda each: each.severity != "warning")


def run_commands(run: RunFolder) -> list[Command]:
    """Returns the commands that repeat the run, evaluate it, use it, and write this report again."""
    args = read_args(run.args)
    commands = []
    if args.get("mode") in {"traineval", "train"}:
        commands.append(Command("Train again under another name:", _training_command(args)))
    commands.append(Command("Evaluate:", command_line("--mode=eval", f"--model_dir={run.path}")))
    saved_model = run.export_path / "saved_model"
    if saved_model.is_dir():
        words = [f"--saved_model_dir={saved_model}", "--input_image=IMAGE.jpg", "--output_image_dir=detections"]
        commands.append(Command("Run inference:", command_line("--mode=infer", *words)))
    commands.append(Command("Write this report again:", command_line("--mode=report", f"--model_dir={run.path}")))
    return commands


def _training_command(args: Mapping[str, Any]) -> str:
    names_run = {"run_name", "model_dir", "model_ckpts", "overwrite"}
    words = [f"--mode={args['mode']}"]
    for name, declared in declarations(TrainOptions).items():
        value = args.get(name, declared.default)
        if name == "mode" or name in names_run or value == declared.default:
            continue
        words.append(f"--{'' if value else 'no'}{name}" if isinstance(value, bool) else f"--{name}={value}")
    return command_line(*words, "--run_name=again")

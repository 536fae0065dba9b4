"""Report contents from a run's folder: facts, curves, progress, exports and figures, also during training."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from efficientdet_pipeline.compression.summary import read_summary
from efficientdet_pipeline.export.formats import FORMATS
from efficientdet_pipeline.export.gate import REPORT, size_of
from efficientdet_pipeline.options.infer import EXPORT_SUFFIXES
from efficientdet_pipeline.report.contents import ExportRow, Picture, ReportContents
from efficientdet_pipeline.report.run_files import progress, read_rows, training_charts
from efficientdet_pipeline.runs.metadata import read_args, read_json
from efficientdet_pipeline.runs.run_dir import RunFolder

_MAX_PICTURE = 4 << 20
_PICTURES = {
    "validation.png": "Ground truth and predictions of validation images",
    "train_batch0.jpg": "A training batch as network input",
    "val_batch0_labels.jpg": "A validation batch: ground truth",
    "val_batch0_pred.jpg": "The same batch: predictions",
    "labels.jpg": "Annotations",
}
_ARGS = {
    "learning_rate": "Learning rate",
    "optimizer": "Optimizer",
    "precision": "Precision",
    "strategy": "Distribution",
    "seed": "Seed",
    "image_size": "Image size",
}


def run_contents(run: RunFolder, *, title: str = "") -> ReportContents:
    """Returns the contents of the files in a run's folder; missing or incomplete files are left out.

    Args:
      run: its folder.
      title: of the page; if empty, the name of the folder.
    """
    described, args = read_json(run.metadata), _args(run.args)
    metric = str(read_json(run.export_path / REPORT).get("metric", "AP"))
    rows = read_rows(run.path / "results.csv")
    far = progress(rows, num_epochs=_whole(described.get("epochs") or args.get("num_epochs")))
    return ReportContents(
        title=title or f"Run {run.path.name}",
        subtitle=str(far) if rows else "no epoch is finished yet",
        facts=_facts(described, args),
        charts=training_charts(rows),
        pictures=_pictures(run.path),
        exports=_exports(run.export_path, str(described.get("model_name") or ""), metric),
        exports_metric=metric,
        compression=read_summary(run.compression),
    )


def _facts(described: Mapping[str, Any], args: Mapping[str, Any]) -> list[tuple[str, str]]:
    images = described.get("number_of_images")
    counts = (
        ", ".join(f"{count:,} {split}" for split, count in images.items() if isinstance(count, int) and count)
        if isinstance(images, dict)
        else ""
    )
    labels = described.get("label_map")
    names = ", ".join(map(str, labels.values())) if isinstance(labels, dict) else ""
    facts = [
        ("Network", described.get("model_name")),
        ("Data", described.get("url")),
        ("Images", counts),
        ("Classes", names if len(names) <= 300 else f"{len(labels or ())}: {names[:280]} …"),
        ("Epochs", described.get("epochs")),
        ("Batch", described.get("train_batch_size")),
        *((label, args.get(name)) for name, label in _ARGS.items()),
        ("Started", described.get("date")),
    ]
    return [(label, str(value)) for label, value in facts if value not in (None, "", {})]


def _pictures(folder: Path) -> list[Picture]:
    """Returns the figures of a run that are part of the report."""
    pictures = []
    for name, title in _PICTURES.items():
        for path in (folder / "pictures" / name, folder / name):
            if path.is_file() and path.stat().st_size <= _MAX_PICTURE:
                pictures.append(Picture(title, path.read_bytes()))
                break
    return pictures


def _exports(folder: Path, model: str, metric: str) -> list[ExportRow]:
    """Returns the exported models, with what the accuracy gate measured of them, after a row of the checkpoint."""
    if not folder.is_dir():
        return []
    report = read_json(folder / REPORT)
    formats = {each.file.format(model=model): each.name for each in FORMATS.values()}
    measured = _measured(report)
    rows = []
    for path in sorted(folder.iterdir()):
        if path.suffix in EXPORT_SUFFIXES or (path / "saved_model.pb").is_file():
            name = formats.get(path.name, path.stem)
            row = ExportRow(name, path.name, size_of(path), "")
            rows.append(_with_measurement(row, measured.pop(name), metric) if name in measured else row)
    # What is left is the same file in another use, such as stretched, or was not kept.
    rows += [_with_measurement(ExportRow(name, "", 0, ""), entry, metric) for name, entry in measured.items()]
    checkpoint = _with_measurement(ExportRow("checkpoint", "", 0, "the trained network"), report, metric)
    return [checkpoint, *rows] if report else rows


def _measured(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Returns {name of a format: its entry in the report of the accuracy gate}."""
    artifacts = report.get("artifacts")
    entries = [each for each in artifacts or () if isinstance(each, dict)] if isinstance(artifacts, list) else []
    return {str(each["name"]): each for each in entries if "name" in each}


def _with_measurement(row: ExportRow, entry: Mapping[str, Any], metric: str) -> ExportRow:
    # Reports of earlier versions call the score ap.
    numbers = {"score": entry.get("score", entry.get("ap"))}
    numbers |= {name: entry.get(name) for name in ("drop", "max_drop", "milliseconds")}
    ap, drop, limit, milliseconds = (value if isinstance(value, int | float) else None for value in numbers.values())
    is_ok = entry.get("is_within") is not False
    change = None if drop is None else round(-drop, 4) + 0.0  # Without a negative zero.
    check = row.check if change is None else f"{metric} {change:+.4f} against the checkpoint"
    if drop is not None and limit is not None and limit < 1.0:
        check += f", {'within' if is_ok else 'beyond'} the limit of {limit:g}"
    if not is_ok:
        check += "; not kept"
    of_classes = entry.get("per_class")
    by_class = of_classes if isinstance(of_classes, dict) else {}
    return replace(row, check=check, is_ok=is_ok, ap=ap, milliseconds=milliseconds, by_class=by_class)


def _args(path: Path) -> dict[str, Any]:
    import yaml

    try:
        args = read_args(path)
    except (yaml.YAMLError, UnicodeDecodeError):
        return {}
    return args if isinstance(args, dict) else {}


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0

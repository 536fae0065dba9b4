"""What a run's folder tells of itself: its facts, curves, progress, exports and pictures, also while it trains."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from efficientdet_pipeline.report.contents import ExportRow, Picture, ReportContents
from efficientdet_pipeline.report.run_files import progress, read_rows, training_charts
from efficientdet_pipeline.runs.metadata import read_args, read_json
from efficientdet_pipeline.runs.run_dir import RunFolder

_MAX_PICTURE = 4 << 20
_PICTURES = {
    "validation.png": "Ground truth and detections of validation images",
    "train_batch0.jpg": "A training batch as the network sees it",
    "val_batch0_labels.jpg": "A validation batch: ground truth",
    "val_batch0_pred.jpg": "The same batch: detections",
    "labels.jpg": "What is annotated",
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
    """Returns what the files of a run's folder hold; those that are missing or half written are left out.

    Args:
      run: its folder.
      title: of the page; the name of the folder where empty.
    """
    described, args = read_json(run.metadata), _args(run.args)
    rows = read_rows(run.path / "results.csv")
    far = progress(rows, num_epochs=_whole(described.get("epochs") or args.get("num_epochs")))
    return ReportContents(
        title=title or f"Run {run.path.name}",
        subtitle=str(far) if rows else "no epoch is finished yet",
        facts=_facts(described, args),
        charts=training_charts(rows),
        pictures=_pictures(run.path),
        exports=_exports(run.export_path),
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
    """Returns the pictures of a run that a page has room for."""
    pictures = []
    for name, title in _PICTURES.items():
        for path in (folder / "pictures" / name, folder / name):
            if path.is_file() and path.stat().st_size <= _MAX_PICTURE:
                pictures.append(Picture(title, path.read_bytes()))
                break
    return pictures


def _exports(folder: Path) -> list[ExportRow]:
    """Returns the exported models; what was measured of them is not in their folder."""
    if not folder.is_dir():
        return []
    rows = []
    for path in sorted(folder.iterdir()):
        is_model = path.suffix in {".pb", ".tflite", ".onnx"} or (path / "saved_model.pb").is_file()
        if is_model:
            files = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
            rows.append(ExportRow(path.stem, path.name, sum(each.stat().st_size for each in files), ""))
    return rows


def _args(path: Path) -> dict[str, Any]:
    import yaml

    try:
        args = read_args(path)
    except (yaml.YAMLError, UnicodeDecodeError):
        return {}
    return args if isinstance(args, dict) else {}


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0

"""Tests with small datasets of annotation tools: read correctly, left out with a report, or rejected.

The table has the ground truth of each case: {image: [[class, [x0, y0, x1, y1]], ...]}.
"""

import json
import os
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from efficientdet_pipeline.errors import MissingError, OptionsError
from efficientdet_pipeline.options.label_map import read_label_map
from tfrmod.archive import extract
from tfrmod.convert import PROBLEMS_FILE, ConvertOptions, convert
from tfrmod.errors import DatasetError
from tfrmod.example import decode_example
from tfrmod.tfrecord_io import read_records

# Pixels by which a side may differ: some tools count pixels from 0, some from 1.
_TOLERANCE = 1.01
# Files of records, which are not converted.
_RECORDS = ("tfrecord_",)


def _table() -> dict[str, dict[str, Any]]:
    path = Path(os.environ.get("EFFICIENTDET_TEST_DATA", "")) / "annotation_cases.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


CASES = {name: case for name, case in _table().items() if not name.startswith(_RECORDS)}


class Outcome(NamedTuple):
    """Result of one case."""

    found: dict[str, list[tuple[str, list[float]]]]
    """{image: objects as (class, [x0, y0, x1, y1])}."""
    told: str
    """All reported problems."""
    refusal: str = ""


@pytest.fixture(scope="module")
def unpacked(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder of all cases."""
    folder = tmp_path_factory.mktemp("cases")
    with tarfile.open(test_data / "annotation_cases.tar.gz") as archive:
        # Python before 3.11.4 has no filters.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(folder)
    return folder


def outcome(source: Path, flags: list[str], scratch: Path) -> Outcome:
    """Converts one case as the command line would."""
    given = dict(flag.removeprefix("--").split("=", 1) for flag in flags)
    records = scratch / "records"
    try:
        if source.is_file():
            extract(source, scratch / "unpacked")
            source = scratch / "unpacked"
        options = ConvertOptions(
            label_map=read_label_map(given.pop("label_map", ""), source="--label_map"),
            source_format=given.pop("source_format", None),
        )
        assert not given, f"flags that the test does not know: {given}"
        made = convert(source, records, options)
    except (DatasetError, OptionsError, MissingError) as error:
        return Outcome({}, str(error), str(error))
    found = {}
    for shard in sorted(records.glob("*.tfrecord")):
        for image in map(decode_example, read_records(shard)):
            assert image.filename not in found, f"{image.filename} is in two records"
            boxes = [(thing.name, thing.box) for thing in image.objects]
            found[image.filename] = sorted((name, [x0, y0, x1, y1]) for name, (y0, x0, y1, x1) in boxes)
    told = (records / PROBLEMS_FILE).read_text(encoding="utf-8") + repr(made.problems)
    return Outcome(found, told)


def faults(case: dict[str, Any], seen: Outcome) -> list[str]:
    """Returns unreported faults: wrong boxes or classes, extra images, missing images."""
    truth, alias = case["truth"], case.get("alias", {})
    wrong = [
        f"{image} holds {objects}, where {truth.get(image)} is right"
        for image, objects in seen.found.items()
        if image not in truth
        or not is_same(sorted((alias.get(name, name), box) for name, box in objects), truth[image])
    ]
    lost = [image for image in truth if image not in seen.found and Path(image).name not in seen.told]
    return wrong + [f"{image} is missing and not named" for image in lost]


def is_same(got: list[tuple[str, list[float]]], truth: list[tuple[str, list[float]]]) -> bool:
    wanted = sorted((name, [float(side) for side in box]) for name, box in truth)
    return [name for name, _ in got] == [name for name, _ in wanted] and all(
        abs(side - other) < _TOLERANCE
        for (_, box), (_, right) in zip(got, wanted, strict=True)
        for side, other in zip(box, right, strict=True)
    )


@pytest.mark.skipif(not CASES, reason="EFFICIENTDET_TEST_DATA does not name a folder with annotation_cases.json")
@pytest.mark.parametrize("name", CASES)
def test_annotation_case_is_never_wrong_in_silence(unpacked: Path, tmp_path: Path, name: str) -> None:
    case = CASES[name]
    flags = [flag.replace("CASES/", f"{unpacked}/") for flag in case.get("flags", [])]
    seen = outcome(unpacked / (case.get("source") or name), flags, tmp_path)
    if seen.refusal:
        assert seen.refusal.count("\n") == 0, "a refusal is one paragraph"
    elif case.get("truth"):
        assert faults(case, seen) == []

import json

import pytest

from tfrmod.checks import FAULTS, NOTES, Problem, ProblemCount, ProblemLog
from tfrmod.errors import DatasetError


def test_a_problem_is_counted_and_its_first_files_are_named() -> None:
    log = ProblemLog()
    log.extend(Problem("box_empty", f"{index}.xml") for index in (0, 0, 1, 2))
    assert log.summary(max_files=2) == {"box_empty": ProblemCount(4, ("0.xml", "1.xml"))}
    assert [json.loads(line)["file"] for line in log.as_jsonl().splitlines()] == ["0.xml", "0.xml", "1.xml", "2.xml"]


def test_strict_ends_at_the_first_fault_and_lets_notes_pass() -> None:
    log = ProblemLog(strict=True)
    log.add(Problem("corners_swapped", "a.xml"))
    with pytest.raises(DatasetError, match=r"b\.jpg: .*does not decode.*\(no JPEG\).*--strict"):
        log.add(Problem("image_undecodable", "b.jpg", "no JPEG"))


def test_no_code_is_both_fault_and_note() -> None:
    assert not FAULTS.keys() & NOTES.keys()

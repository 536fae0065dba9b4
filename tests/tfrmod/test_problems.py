import io
import json

import pytest

from tfrmod.errors import DatasetError
from tfrmod.problems import FAULTS, NOTES, Problem, ProblemCount, ProblemLog


def test_problem_is_counted_and_its_first_files_are_named() -> None:
    file = io.StringIO()
    log = ProblemLog(file=file)
    log.extend(Problem("box_empty", f"{index}.xml") for index in (0, *range(20)))
    assert log.summary() == {"box_empty": ProblemCount(21, tuple(f"{index}.xml" for index in range(10)))}
    assert [json.loads(line)["file"] for line in file.getvalue().splitlines()][:3] == ["0.xml", "0.xml", "1.xml"]
    assert log.problems == []


def test_problems_without_a_file_the_problems_are_kept_and_names_can_be_printed() -> None:
    log = ProblemLog()
    log.add(Problem("box_empty", "\udcff.xml"))
    assert log.problems == [Problem("box_empty", "\\udcff.xml")]


def test_problems_strict_ends_at_the_first_fault_and_lets_notes_pass() -> None:
    log = ProblemLog(strict=True)
    log.add(Problem("corners_swapped", "a.xml"))
    with pytest.raises(DatasetError, match=r"b\.jpg: .*cannot be decoded.*\(no JPEG\).*--strict"):
        log.add(Problem("image_undecodable", "b.jpg", "no JPEG"))


def test_problems_no_code_is_both_fault_and_note() -> None:
    assert not FAULTS.keys() & NOTES.keys()

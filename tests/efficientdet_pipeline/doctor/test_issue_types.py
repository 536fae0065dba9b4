"""Every issue type has texts, also for unknown conversion codes; the worst issue comes first."""

import pytest

from efficientdet_pipeline.doctor.issue import Severity, rank_issues, worst_severity
from efficientdet_pipeline.doctor.issue_types import ISSUE_TYPES, issue_type, make_issue
from tfrmod.problems import CODES, FAULTS


@pytest.mark.parametrize("code", [*ISSUE_TYPES, *CODES])
def test_issue_types_every_kind_says_what_why_and_what_now(code: str) -> None:
    kind = issue_type(code)
    assert kind.title
    assert kind.remedy
    assert kind.why or code in CODES
    assert 1 <= kind.harm <= 10
    if code in CODES:
        assert kind.title == CODES[code]


def test_issue_types_unknown_conversion_code_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CODES, "new_fault", "a new fault")
    monkeypatch.setitem(FAULTS, "new_fault", "a new fault")
    assert issue_type("new_fault").severity == Severity.WARNING


def test_issue_types_nothing_found_is_no_issue() -> None:
    assert make_issue("box_twice", count=0) is None


def test_issue_types_many_make_an_error_of_a_warning() -> None:
    few, many = (make_issue("image_undecodable", count=count, of=10) for count in (4, 5))
    assert (few.severity, many.severity) == (Severity.WARNING, Severity.ERROR)


def test_issue_types_all_files_are_named_each_once() -> None:
    made = make_issue("box_twice", count=30, files=[f"{number // 2}.jpg" for number in range(30)])
    assert made.files == tuple(f"{number}.jpg" for number in range(15))


def test_issue_types_rank_is_severity_then_harm_times_share() -> None:
    issues = [
        make_issue("class_imbalance", count=9, of=10),
        make_issue("box_twice", count=10, of=10),
        make_issue("anchors_unmatched", count=1, of=10),
        None,
        make_issue("label_zero", count=1, of=1000),
    ]
    assert [each.code for each in rank_issues(issues)] == [
        "label_zero",
        "box_twice",
        "anchors_unmatched",
        "class_imbalance",
    ]
    assert worst_severity(rank_issues(issues)) == Severity.ERROR
    assert worst_severity([]) == Severity.NOTE

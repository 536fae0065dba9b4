"""The text report and its JSON."""

import json
import re
from collections.abc import Callable

import pytest

from efficientdet_pipeline.doctor import report, run_checks
from efficientdet_pipeline.doctor.issue_types import ISSUE_TYPES, issue_type, make_issue
from tfrmod.problems import CODES, Problem


def test_report_page_ranks_and_counts(image: Callable, stats: Callable, plan: Callable) -> None:
    train = [image(f"JPEGImages/{n}", [("cat", 10, 10, 60, 60 + n), ("cat", 10, 10, 60, 60 + n)]) for n in range(40)]
    problems = [Problem("box_empty", "JPEGImages/7.jpg", "cat (1, 1, 1, 1)"), Problem("encoding_guessed", "7.xml")]
    given = stats(train, [image(f"v{n}", [("cat", 10, 10, 60, 60)]) for n in range(20)], problems=problems)
    text = report.render_text(given, plan(), run_checks.validate_dataset(given, plan()), title="photos.zip")
    lines = text.splitlines()
    assert lines[0] == "photos.zip: 60 images (40 train, 20 val), 100 boxes, 1 class."
    assert lines[3:7] == [
        "    severity  finding           count                  flag",
        "1.  warning   box_twice         40 (40% of 100 boxes)  --fix",
        "2.  warning   box_empty         1 (1.0% of 101 boxes)  --fix",
        "3.  note      encoding_guessed  1                      --fix",
    ]
    assert lines[8] == " 1. warning: 40 × a box annotated twice (40% of 100 boxes) [box_twice]"
    assert "\n    JPEGImages/0.jpg (cat 10 10 60 60)\n    JPEGImages/1.jpg (cat 10 10 61 60)\n" in text
    assert "\n    and 37 more files\n" in text
    assert "2. warning: 1 × a box without area inside its image; dropped (1.0% of 101 boxes)" in text
    assert lines[-1] == "2 warnings, 1 note."
    assert max(map(len, lines)) <= 100


def test_report_nothing_wrong_is_reported(image: Callable, stats: Callable, plan: Callable) -> None:
    assert report.render_text(stats([image("a")]), plan(), [], title="x").endswith("No issues found.")


def test_report_machines_get_stable_keys(image: Callable, stats: Callable, plan: Callable) -> None:
    given = stats([image("a", [("cat", 10, 10, 60, 60)])])
    issues = [make_issue("crowded", count=1, of=2, files=["a.jpg"], most=101, limit=100)]
    content = json.loads(report.as_json(given, plan(), issues, title="x", fixed=None))
    assert content["verdict"] == "warnings"
    assert (content["photos"], content["boxes"], content["boxes_per_class"]) == (1, 1, {"cat": 1})
    assert content["splits"] == {"train": 1, "val": 0}
    (finding,) = content["findings"]
    keys = {"code", "severity", "title", "count", "of", "harm", "detail", "why", "mend", "files", "values"}
    assert finding.keys() == keys
    assert (finding["severity"], finding["values"], finding["harm"]) == ("warning", {"most": 101, "limit": 100}, 3.0)


def test_report_line_says_what_and_what_now() -> None:
    one = make_issue("crowded", count=2, of=40, detail="Up to 12 boxes, where 10 are kept.")
    assert report.render_line(one) == (
        "2 × an image with more boxes than max_instances_per_image (5.0% of 40 images). Up to 12 boxes, where 10 are "
        "kept. Leave --max_instances_per_image out: the maximum of the data is then used."
    )


def test_report_misspelt_classes_are_joined_by_a_flag_that_can_be_typed(image: Callable, stats: Callable) -> None:
    problems = [Problem("class_spelling", "Thing", "3 objects, 300 of 'thing': one class?")]
    (finding,) = run_checks.conversion_issues(stats([image("a")], problems=problems))
    assert finding.remedy == "--label_aliases=Thing=thing"


LONG = f"train/{'0123456789abcdef' * 6}.jpg"


def test_report_page_names_three_files_whole_and_where_the_rest_is(
    image: Callable, stats: Callable, plan: Callable
) -> None:
    files = [f"{number}{LONG} (like {LONG})" for number in range(30)]
    issues = [make_issue("leak_alike", count=30, of=58, files=files)]
    text = report.render_text(stats([image("a")]), plan(), issues, title="x", full="doctor.json")
    assert [line.strip() for line in text.splitlines() if LONG in line] == files[:3]
    assert "(52% of 58 validation images)" in text
    assert "    and 27 more files\n" in text
    assert "Every file by name: doctor.json" in text
    assert len(text.splitlines()) < 20
    content = json.loads(report.as_json(stats([image("a")]), plan(), issues, title="x", fixed=None))
    assert content["findings"][0]["files"] == files


def test_report_page_that_names_all_mentions_no_other_place(image: Callable, stats: Callable, plan: Callable) -> None:
    issues = [make_issue("leak", count=3, of=9, files=["a", "b", "c"])]
    assert "doctor.json" not in report.render_text(stats([image("a")]), plan(), issues, title="x", full="doctor.json")


@pytest.mark.parametrize("code", [*ISSUE_TYPES, *CODES])
def test_report_advice_names_only_issues_that_exist(code: str) -> None:
    mentioned = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", re.sub(r"--\w+|\{\w+\}", "", issue_type(code).remedy)))
    options = {"train_set", "val_set", "nms_configs", "max_output_size", "label_map"}
    assert mentioned - options <= ISSUE_TYPES.keys() | CODES.keys()


def test_report_advice_to_look_at_files_names_files() -> None:
    assert make_issue("unit_differs", count=2, files=["a.csv"]).remedy == "Look at the files named"
    assert make_issue("unit_differs", count=2).remedy == ""


def test_report_shares_say_of_what(image: Callable, stats: Callable, plan: Callable) -> None:
    given = stats([image("a", [("cat", 10, 10, 60, 60)])], problems=[Problem("label_ids_changed", "a.json", "from 0")])
    text = report.render_text(given, plan(), [each for each in run_checks.conversion_issues(given) if each], title="x")
    assert "note: 1 × class ids that could not be kept as the dataset has them [label_ids_changed]" in text
    assert "%" not in text
    assert "Look at" not in text

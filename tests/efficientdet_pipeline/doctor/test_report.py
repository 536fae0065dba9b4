"""The page for people, and the same for machines."""

import json
import re
from collections.abc import Callable

import pytest

from efficientdet_pipeline.doctor import report, run_checks
from efficientdet_pipeline.doctor.issue_types import KINDS, issue, issue_type
from tfrmod.problems import CODES, Problem


def test_a_page_ranks_and_counts(photo: Callable, facts: Callable, plan: Callable) -> None:
    train = [photo(f"JPEGImages/{n}", [("cat", 10, 10, 60, 60 + n), ("cat", 10, 10, 60, 60 + n)]) for n in range(40)]
    problems = [Problem("box_empty", "JPEGImages/7.jpg", "cat (1, 1, 1, 1)"), Problem("encoding_guessed", "7.xml")]
    given = facts(train, [photo(f"v{n}", [("cat", 10, 10, 60, 60)]) for n in range(20)], problems=problems)
    text = report.page(given, plan(), run_checks.validate_dataset(given, plan()), title="photos.zip")
    lines = text.splitlines()
    assert lines[0] == "photos.zip: 60 photos (40 train, 20 val), 100 boxes, 1 classes."
    assert lines[3:7] == [
        "    severity  finding           count                  flag",
        "1.  warning   box_twice         40 (40% of 100 boxes)  --fix",
        "2.  warning   box_empty         1 (1.0% of 101 boxes)  --fix",
        "3.  note      encoding_guessed  1                      --fix",
    ]
    assert lines[8] == " 1. warning: 40 × a box drawn twice (40% of 100 boxes) [box_twice]"
    assert "\n    JPEGImages/0.jpg (cat 10 10 60 60)\n    JPEGImages/1.jpg (cat 10 10 61 60)\n" in text
    assert "\n    and 37 more files\n" in text
    assert "2. warning: 1 × a box without area inside its photo; dropped (1.0% of 101 boxes)" in text
    assert lines[-1] == "2 warnings, 1 note."
    assert max(map(len, lines)) <= 100


def test_nothing_wrong_is_said(photo: Callable, facts: Callable, plan: Callable) -> None:
    assert report.page(facts([photo("a")]), plan(), [], title="x").endswith("Nothing was found wrong.")


def test_machines_get_stable_keys(photo: Callable, facts: Callable, plan: Callable) -> None:
    given = facts([photo("a", [("cat", 10, 10, 60, 60)])])
    findings = [issue("crowded", count=1, of=2, files=["a.jpg"], most=101, limit=100)]
    content = json.loads(report.as_json(given, plan(), findings, title="x", mended=None))
    assert content["verdict"] == "warnings"
    assert (content["photos"], content["boxes"], content["boxes_per_class"]) == (1, 1, {"cat": 1})
    assert content["splits"] == {"train": 1, "val": 0}
    (finding,) = content["findings"]
    keys = {"code", "severity", "title", "count", "of", "harm", "detail", "why", "mend", "files", "values"}
    assert finding.keys() == keys
    assert (finding["severity"], finding["values"], finding["harm"]) == ("warning", {"most": 101, "limit": 100}, 3.0)


def test_a_line_says_what_and_what_now() -> None:
    one = issue("crowded", count=2, of=40, detail="Up to 12 boxes, where 10 are kept.")
    assert report.line(one) == (
        "2 × a photo with more boxes than max_instances_per_image (5.0% of 40 images). Up to 12 boxes, where 10 are "
        "kept. Leave --max_instances_per_image out: the most that a photo has is then taken."
    )


def test_misspelt_classes_are_joined_by_a_flag_that_can_be_typed(photo: Callable, facts: Callable) -> None:
    problems = [Problem("class_spelling", "Thing", "3 objects, 300 of 'thing': one class?")]
    (finding,) = run_checks.of_problems(facts([photo("a")], problems=problems))
    assert finding.mend == "--label_aliases=Thing=thing"


LONG = f"train/{'0123456789abcdef' * 6}.jpg"


def test_page_names_three_files_whole_and_where_the_rest_is(photo: Callable, facts: Callable, plan: Callable) -> None:
    files = [f"{number}{LONG} (like {LONG})" for number in range(30)]
    findings = [issue("leak_alike", count=30, of=58, files=files)]
    text = report.page(facts([photo("a")]), plan(), findings, title="x", full="doctor.json")
    assert [line.strip() for line in text.splitlines() if LONG in line] == files[:3]
    assert "(52% of 58 validation images)" in text
    assert "    and 27 more files\n" in text
    assert "Every file by name: doctor.json" in text
    assert len(text.splitlines()) < 20
    content = json.loads(report.as_json(facts([photo("a")]), plan(), findings, title="x", mended=None))
    assert content["findings"][0]["files"] == files


def test_page_that_names_all_mentions_no_other_place(photo: Callable, facts: Callable, plan: Callable) -> None:
    findings = [issue("leak", count=3, of=9, files=["a", "b", "c"])]
    assert "doctor.json" not in report.page(facts([photo("a")]), plan(), findings, title="x", full="doctor.json")


@pytest.mark.parametrize("code", [*KINDS, *CODES])
def test_advice_names_only_findings_that_exist(code: str) -> None:
    mentioned = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", re.sub(r"--\w+|\{\w+\}", "", issue_type(code).mend)))
    options = {"train_set", "val_set", "nms_configs", "max_output_size", "label_map"}
    assert mentioned - options <= KINDS.keys() | CODES.keys()


def test_advice_to_look_at_files_names_files() -> None:
    assert issue("unit_differs", count=2, files=["a.csv"]).mend == "Look at the files named"
    assert issue("unit_differs", count=2).mend == ""


def test_shares_say_of_what(photo: Callable, facts: Callable, plan: Callable) -> None:
    given = facts([photo("a", [("cat", 10, 10, 60, 60)])], problems=[Problem("label_ids_changed", "a.json", "from 0")])
    text = report.page(given, plan(), [each for each in run_checks.of_problems(given) if each], title="x")
    assert "note: 1 × class ids that could not be kept as the data set has them [label_ids_changed]" in text
    assert "%" not in text
    assert "Look at" not in text

"""The page for people, and the same for machines."""

import json
from collections.abc import Callable

from efficientdet_pipeline.doctor import examination, report
from efficientdet_pipeline.doctor.catalogue import found
from tfrmod.checks import Problem


def test_a_page_ranks_and_counts(photo: Callable, facts: Callable, plan: Callable) -> None:
    train = [photo(f"JPEGImages/{n}", [("cat", 10, 10, 60, 60 + n), ("cat", 10, 10, 60, 60 + n)]) for n in range(40)]
    problems = [Problem("box_empty", "JPEGImages/7.jpg", "cat (1, 1, 1, 1)"), Problem("encoding_guessed", "7.xml")]
    given = facts(train, [photo(f"v{n}", [("cat", 10, 10, 60, 60)]) for n in range(20)], problems=problems)
    text = report.page(given, plan(), examination.examined(given, plan()), title="photos.zip")
    lines = text.splitlines()
    assert lines[0] == "photos.zip: 60 photos (40 train, 20 val), 100 boxes, 1 classes."
    assert lines[3] == " 1. warning: 40 × a box drawn twice (40%)"
    assert "    in JPEGImages/: 0.jpg (cat 10 10 60 60), 1.jpg (cat 10 10 61 60)" in text
    assert " and more\n" in text
    assert "2. warning: 1 × a box without area inside its photo; dropped (1.0%)" in text
    assert lines[-1] == "2 warnings, 1 note."
    assert max(map(len, lines)) <= 100


def test_nothing_wrong_is_said(photo: Callable, facts: Callable, plan: Callable) -> None:
    assert report.page(facts([photo("a")]), plan(), [], title="x").endswith("Nothing was found wrong.")


def test_machines_get_stable_keys(photo: Callable, facts: Callable, plan: Callable) -> None:
    given = facts([photo("a", [("cat", 10, 10, 60, 60)])])
    findings = [found("crowded", count=1, of=2, files=["a.jpg"], most=101, limit=100)]
    content = json.loads(report.as_json(given, plan(), findings, title="x", mended=None))
    assert content["verdict"] == "warnings"
    assert (content["photos"], content["boxes"], content["boxes_per_class"]) == (1, 1, {"cat": 1})
    assert content["splits"] == {"train": 1, "val": 0}
    (finding,) = content["findings"]
    keys = {"code", "severity", "title", "count", "of", "harm", "detail", "why", "mend", "files", "values"}
    assert finding.keys() == keys
    assert (finding["severity"], finding["values"], finding["harm"]) == ("warning", {"most": 101, "limit": 100}, 3.0)


def test_a_line_says_what_and_what_now() -> None:
    one = found("crowded", count=2, of=40, detail="Up to 12 boxes, where 10 are kept.")
    assert report.line(one) == (
        "2 × a photo with more boxes than max_instances_per_image (5.0%). Up to 12 boxes, where 10 are kept. "
        "Leave --max_instances_per_image out: the most that a photo has is then taken."
    )


def test_misspelt_classes_are_joined_by_a_flag_that_can_be_typed(photo: Callable, facts: Callable) -> None:
    problems = [Problem("class_spelling", "Thing", "3 objects, 300 of 'thing': one class?")]
    (finding,) = examination.of_problems(facts([photo("a")], problems=problems))
    assert finding.mend == "--label_aliases=Thing=thing"

"""What is wrong with the division into training and validation: photos on both sides, too few to validate on."""

from efficientdet_pipeline.doctor.catalogue import found
from efficientdet_pipeline.doctor.facts import Facts, Plan
from efficientdet_pipeline.doctor.findings import Finding

_FEW = 20


def check(facts: Facts, plan: Plan) -> list[Finding | None]:
    """Returns what is wrong with the splits of a data set."""
    num_val = len(facts.splits.get("val", ()))
    equal, alike = _leaks(facts, facts.equal_groups), _leaks(facts, facts.alike_groups)
    alike = {photo: twin for photo, twin in alike.items() if photo not in equal}
    is_small = plan.validates and num_val < _FEW and not facts.is_sample
    return [
        found("leak", count=len(equal), of=num_val, files=_named(facts, equal, "=")),
        found("leak_alike", count=len(alike), of=num_val, files=_named(facts, alike, "like")),
        # Counted is what is there: at least one, for a finding counts something.
        found(
            "val_small",
            count=max(1, num_val) if is_small else 0,
            detail="" if num_val else "There is none.",
        ),
    ]


def _leaks(facts: Facts, groups: list[list[int]]) -> dict[int, int]:
    """Returns {validation photo: training photo of the same group}."""
    leaks = {}
    for group in groups:
        train = [photo for photo in group if facts.split_of[photo] == "train"]
        for photo in group if train else ():
            if facts.split_of[photo] in ("val", "test"):
                leaks[photo] = train[0]
    return leaks


def _named(facts: Facts, leaks: dict[int, int], word: str) -> list[str]:
    return [f"{facts.file(photo)} ({word} {facts.file(twin)})" for photo, twin in leaks.items()]

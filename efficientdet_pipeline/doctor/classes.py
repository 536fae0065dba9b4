"""What is wrong with classes: rare, missing on one side, forgotten on a photo, numbered wrongly."""

import numpy as np

from efficientdet_pipeline.doctor.dataset_stats import DatasetStats, Plan
from efficientdet_pipeline.doctor.issue import Issue
from efficientdet_pipeline.doctor.issue_types import issue

_RARE = 30
_IMBALANCE = 10
_USUAL = 0.9
_FEW_PHOTOS = 30
_MANY_NEGATIVES = 0.5


def check(facts: DatasetStats, plan: Plan) -> list[Issue | None]:
    """Returns what is wrong with the classes of a data set, for a training of this plan."""
    return [
        _no_boxes(facts),
        _only_crowds(facts, plan),
        *_frequencies(facts),
        *_sides(facts),
        _forgotten(facts),
        _negatives(facts),
        *_numbers(facts, plan),
        *_named_in_vain(facts, plan),
    ]


def _no_boxes(facts: DatasetStats) -> Issue | None:
    train = facts.splits.get("train", ())
    has_boxes = facts.is_sample or any(seen.image.objects for seen in train)
    return issue("no_boxes", count=int(not has_boxes), detail=f"It holds {len(train):,} photos.")


def _only_crowds(facts: DatasetStats, plan: Plan) -> Issue | None:
    is_crowd = [thing.is_crowd for seen in facts.splits.get("train", ()) for thing in seen.image.objects]
    has_none = plan.skips_crowds and bool(is_crowd) and all(is_crowd)
    return issue("only_crowds", count=int(has_none), detail=f"Of {len(is_crowd):,} boxes, all mark a crowd.")


def _frequencies(facts: DatasetStats) -> list[Issue | None]:
    counts = {name: count for name, count in facts.boxes_per_class("train").items() if count}
    rare = sorted((name for name in counts if counts[name] < _RARE), key=lambda name: (counts[name], name))
    most = max(counts.values(), default=0)
    lesser = sorted((name for name in counts if counts[name] * _IMBALANCE <= most), key=lambda name: counts[name])
    lesser = [name for name in lesser if name not in rare]
    return [
        issue(
            "class_rare",
            count=len(rare),
            of=len(counts),
            detail=f"In training: {_listed(counts, rare)}.",
            classes={name: counts[name] for name in rare},
        )
        if not facts.is_sample
        else None,
        issue(
            "class_imbalance",
            count=len(lesser),
            of=len(counts),
            detail=f"In training: {_listed(counts, lesser)}; the most frequent has {most:,}.",
            classes={name: counts[name] for name in lesser},
        ),
    ]


def _sides(facts: DatasetStats) -> list[Issue | None]:
    """Returns the classes that only one of training and validation shows."""
    if facts.is_sample or not facts.splits.get("val"):
        return []
    train, val = facts.boxes_per_class("train"), facts.boxes_per_class("val")
    only_val = [name for name in val if val[name] and not train[name]]
    only_train = [name for name in train if train[name] and not val[name]]
    return [
        issue("class_not_in_train", count=len(only_val), of=len(val), detail=f"{_few(only_val)}.", classes=only_val),
        issue(
            "class_not_in_val", count=len(only_train), of=len(val), detail=f"{_few(only_train)}.", classes=only_train
        ),
    ]


def _forgotten(facts: DatasetStats) -> Issue | None:
    """Returns the photos that lack a class which nine in ten photos show."""
    boxes, count = facts.boxes, len(facts.photos)
    if count < _FEW_PHOTOS:
        return None
    shown = np.zeros((count, len(boxes.names)), bool)
    shown[boxes.photo, boxes.name] = True
    shares = shown.mean(axis=0)
    usual = [index for index, share in enumerate(shares) if _USUAL <= share < 1]
    # Photos without any object are negatives, not forgetfulness.
    is_lacking = ~shown & shown.any(axis=1, keepdims=True)
    lacking = [(photo, index) for index in usual for photo in np.flatnonzero(is_lacking[:, index]).tolist()]
    said = ", ".join(f"{boxes.names[index]} is on {shares[index]:.0%} of all photos" for index in usual)
    return issue(
        "labels_missing",
        count=len({photo for photo, _ in lacking}),
        of=count,
        files=[f"{facts.file(photo)} (no {boxes.names[index]})" for photo, index in lacking],
        detail=f"{said}.",
    )


def _negatives(facts: DatasetStats) -> Issue | None:
    empty = [seen.image.filename for seen in facts.photos if not seen.image.objects]
    is_many = len(empty) > _MANY_NEGATIVES * len(facts.photos)
    return issue("negatives_many", count=len(empty) if is_many else 0, of=len(facts.photos), files=empty)


def _numbers(facts: DatasetStats, plan: Plan) -> list[Issue | None]:
    """Returns what is wrong with the class ids that records hold, and with num_classes."""
    largest = max(facts.class_ids, default=0) if facts.class_ids else len(plan.label_map or facts.boxes.names)
    if plan.label_map:
        largest = max(largest, *plan.label_map)
    over = max(0, (plan.num_classes or largest) - largest)
    findings = [
        issue(
            "num_classes_over",
            count=over,
            detail=f"num_classes={plan.num_classes}, and the largest id is {largest}.",
            mend=f"--num_classes={largest}, or leave it out",
        )
    ]
    things = [(seen.image.filename, thing) for seen in facts.photos for thing in seen.image.objects]
    if not facts.class_ids:
        return findings
    below = [file for file, thing in things if thing.class_id < 1]
    limit = plan.num_classes or max(facts.class_ids)
    beyond = [f"{file} (id {thing.class_id})" for file, thing in things if thing.class_id > limit]
    gaps = sorted(set(range(1, max(facts.class_ids) + 1)) - facts.class_ids.keys())
    starts_at_zero = "The ids start at 0: every one is one too low. " if min(facts.class_ids) == 0 else ""
    return [
        *findings,
        issue("label_zero", count=len(below), of=len(things), files=below, detail=starts_at_zero.strip()),
        issue("label_beyond", count=len(beyond), of=len(things), files=beyond, detail=f"num_classes={limit}."),
        None
        if facts.is_sample
        else issue("label_gaps", count=len(gaps), of=max(facts.class_ids), detail=f"Not met: {_few(gaps)}.", ids=gaps),
    ]


def _named_in_vain(facts: DatasetStats, plan: Plan) -> list[Issue | None]:
    counts = facts.boxes_per_class()
    known = set(counts) | {facts.class_ids.get(class_id) for class_id in facts.class_ids}
    unused = [] if facts.is_sample else [name for name in plan.label_map.values() if name not in known]
    return [
        issue("label_unused", count=len(unused), of=len(plan.label_map), detail=f"{_few(unused)}.", classes=unused),
    ]


def _listed(counts: dict[str, int], names: list[str]) -> str:
    return _few([f"{name} {counts[name]:,}" for name in names])


def _few(names: object) -> str:
    listed = [str(name) for name in names]  # type: ignore[attr-defined]
    return ", ".join(listed[:10]) + (f" and {len(listed) - 10} more" if len(listed) > 10 else "")

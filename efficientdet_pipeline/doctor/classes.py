"""Checks of classes: rare, in one split only, missing from an image, wrong class ids."""

import numpy as np

from efficientdet_pipeline.doctor.dataset_stats import DatasetStats, Plan
from efficientdet_pipeline.doctor.issue import Issue
from efficientdet_pipeline.doctor.issue_types import make_issue
from tfrmod.counted import counted

_RARE = 30
_IMBALANCE = 10
_USUAL = 0.9
_FEW_IMAGES = 30
_MANY_NEGATIVES = 0.5


def check(stats: DatasetStats, plan: Plan) -> list[Issue | None]:
    """Returns the issues with the classes of a data set, for a training of this plan."""
    return [
        _no_boxes(stats),
        _only_crowds(stats, plan),
        *_frequencies(stats),
        *_sides(stats),
        _missing_labels(stats),
        _negatives(stats),
        *_numbers(stats, plan),
        *_unused_labels(stats, plan),
    ]


def _no_boxes(stats: DatasetStats) -> Issue | None:
    train = stats.splits.get("train", ())
    has_boxes = stats.is_sample or any(seen.image.objects for seen in train)
    return make_issue("no_boxes", count=int(not has_boxes), detail=f"It holds {counted(len(train), 'image')}.")


def _only_crowds(stats: DatasetStats, plan: Plan) -> Issue | None:
    is_crowd = [obj.is_crowd for seen in stats.splits.get("train", ()) for obj in seen.image.objects]
    has_none = plan.skips_crowds and bool(is_crowd) and all(is_crowd)
    return make_issue("only_crowds", count=int(has_none), detail=f"All {len(is_crowd):,} boxes mark a crowd.")


def _frequencies(stats: DatasetStats) -> list[Issue | None]:
    counts = {name: count for name, count in stats.boxes_per_class("train").items() if count}
    rare = sorted((name for name in counts if counts[name] < _RARE), key=lambda name: (counts[name], name))
    most = max(counts.values(), default=0)
    lesser = sorted((name for name in counts if counts[name] * _IMBALANCE <= most), key=lambda name: counts[name])
    lesser = [name for name in lesser if name not in rare]
    return [
        make_issue(
            "class_rare",
            count=len(rare),
            of=len(counts),
            detail=f"In training: {_listed(counts, rare)}.",
            classes={name: counts[name] for name in rare},
        )
        if not stats.is_sample
        else None,
        make_issue(
            "class_imbalance",
            count=len(lesser),
            of=len(counts),
            detail=f"In training: {_listed(counts, lesser)}; the most frequent has {most:,}.",
            classes={name: counts[name] for name in lesser},
        ),
    ]


def _sides(stats: DatasetStats) -> list[Issue | None]:
    """Returns the classes that occur in only one of training and validation."""
    if stats.is_sample or not stats.splits.get("val"):
        return []
    train, val = stats.boxes_per_class("train"), stats.boxes_per_class("val")
    only_val = [name for name in val if val[name] and not train[name]]
    only_train = [name for name in train if train[name] and not val[name]]
    return [
        make_issue(
            "class_not_in_train",
            count=len(only_val),
            of=len(val),
            detail=f"{_first_names(only_val)}.",
            classes=only_val,
        ),
        make_issue(
            "class_not_in_val",
            count=len(only_train),
            of=len(val),
            detail=f"{_first_names(only_train)}.",
            classes=only_train,
        ),
    ]


def _missing_labels(stats: DatasetStats) -> Issue | None:
    """Returns the images that lack a class which at least nine in ten images contain."""
    boxes, count = stats.boxes, len(stats.images)
    if count < _FEW_IMAGES:
        return None
    is_present = np.zeros((count, len(boxes.names)), bool)
    is_present[boxes.image_index, boxes.name] = True
    shares = is_present.mean(axis=0)
    usual = [index for index, share in enumerate(shares) if _USUAL <= share < 1]
    # Images without objects are negatives, not annotation errors.
    is_lacking = ~is_present & is_present.any(axis=1, keepdims=True)
    lacking = [(image_index, index) for index in usual for image_index in np.flatnonzero(is_lacking[:, index]).tolist()]
    shares_text = ", ".join(f"{boxes.names[index]} is on {shares[index]:.0%} of all images" for index in usual)
    return make_issue(
        "labels_missing",
        count=len({image_index for image_index, _ in lacking}),
        of=count,
        files=[f"{stats.file(image_index)} (no {boxes.names[index]})" for image_index, index in lacking],
        detail=f"{shares_text}.",
    )


def _negatives(stats: DatasetStats) -> Issue | None:
    empty = [seen.image.filename for seen in stats.images if not seen.image.objects]
    is_many = len(empty) > _MANY_NEGATIVES * len(stats.images)
    return make_issue("negatives_many", count=len(empty) if is_many else 0, of=len(stats.images), files=empty)


def _numbers(stats: DatasetStats, plan: Plan) -> list[Issue | None]:
    """Returns the issues with the class ids of records, and with num_classes."""
    largest = max(stats.class_ids, default=0) if stats.class_ids else len(plan.label_map or stats.boxes.names)
    if plan.label_map:
        largest = max(largest, *plan.label_map)
    over = max(0, (plan.num_classes or largest) - largest)
    issues = [
        make_issue(
            "num_classes_over",
            count=over,
            detail=f"num_classes={plan.num_classes}, and the largest id is {largest}.",
            remedy=f"--num_classes={largest}, or leave it out",
        )
    ]
    named_objects = [(seen.image.filename, obj) for seen in stats.images for obj in seen.image.objects]
    if not stats.class_ids:
        return issues
    below = [file for file, obj in named_objects if obj.class_id < 1]
    limit = plan.num_classes or max(stats.class_ids)
    beyond = [f"{file} (id {obj.class_id})" for file, obj in named_objects if obj.class_id > limit]
    gaps = sorted(set(range(1, max(stats.class_ids) + 1)) - stats.class_ids.keys())
    starts_at_zero = "The ids start at 0: each is one too low. " if min(stats.class_ids) == 0 else ""
    return [
        *issues,
        make_issue("label_zero", count=len(below), of=len(named_objects), files=below, detail=starts_at_zero.strip()),
        make_issue(
            "label_beyond", count=len(beyond), of=len(named_objects), files=beyond, detail=f"num_classes={limit}."
        ),
        None
        if stats.is_sample
        else make_issue(
            "label_gaps", count=len(gaps), of=max(stats.class_ids), detail=f"Unused: {_first_names(gaps)}.", ids=gaps
        ),
    ]


def _unused_labels(stats: DatasetStats, plan: Plan) -> list[Issue | None]:
    counts = stats.boxes_per_class()
    named = set(counts) | {stats.class_ids.get(class_id) for class_id in stats.class_ids}
    unused = [] if stats.is_sample else [name for name in plan.label_map.values() if name not in named]
    return [
        make_issue(
            "label_unused", count=len(unused), of=len(plan.label_map), detail=f"{_first_names(unused)}.", classes=unused
        ),
    ]


def _listed(counts: dict[str, int], names: list[str]) -> str:
    return _first_names([f"{name} {counts[name]:,}" for name in names])


def _first_names(names: object) -> str:
    listed = [str(name) for name in names]  # type: ignore[attr-defined]
    return ", ".join(listed[:10]) + (f" and {len(listed) - 10} more" if len(listed) > 10 else "")

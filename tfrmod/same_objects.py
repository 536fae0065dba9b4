"""Whether two images that look alike show the same objects in the same places: the second look at near-duplicates.

A camera that does not move takes pictures that a perceptual hash cannot tell
apart, though other things stand before it each time. They are no copies.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from tfrmod.annotated_image import AnnotatedImage

_SAME_PLACE = 0.5
"""Intersection over union from which two boxes of one class mark the same thing."""
_MOST_OBJECTS = 0.8
"""Share of the objects that must have a counterpart; a second annotator misses some."""
_FAR = 0.15  # By which the mean box may move, in sides of the image, before a closer look is in vain.
_CLOSER_LOOKS = 8


class Objects(NamedTuple):
    """The objects on one image."""

    names: tuple[str, ...]
    boxes: np.ndarray
    """(n, 4): y0, x0, y1, x1 in parts of the image's sides."""


def objects_of(image: AnnotatedImage) -> Objects:
    """Returns the objects of an image in parts of its sides."""
    boxes = np.array([thing.box for thing in image.objects], float).reshape(-1, 4)
    sides = np.array([image.height, image.width] * 2, float)
    return Objects(tuple(thing.name for thing in image.objects), boxes / np.maximum(sides, 1.0))


def is_same(one: Objects, other: Objects) -> bool:
    """Returns whether nearly all objects of each have a counterpart on the other; so have two images of nothing."""
    most = max(len(one.names), len(other.names))
    if min(len(one.names), len(other.names)) < _MOST_OBJECTS * most:
        return False
    if not most:
        return True
    overlaps = _overlaps(one.boxes, other.boxes)
    overlaps[np.array(one.names)[:, None] != np.array(other.names)] = 0.0
    first, second = np.nonzero(overlaps >= _SAME_PLACE)
    order = np.argsort(-overlaps[first, second], kind="stable")
    is_free_here, is_free_there = np.ones(len(one.names), bool), np.ones(len(other.names), bool)
    num_matched = 0
    for here, there in zip(first[order].tolist(), second[order].tolist(), strict=True):
        if is_free_here[here] and is_free_there[there]:
            is_free_here[here] = is_free_there[there] = False
            num_matched += 1
    return num_matched >= _MOST_OBJECTS * most


def split_by_objects(labels: np.ndarray, objects: Callable[[int], Objects]) -> np.ndarray:
    """Returns labels of groups that agree in their objects too, -1 for what is alone; they divide the given groups.

    Each image joins the group whose first image shows the same objects, the most similar one.

    Args:
      labels: the same number for images that look alike, -1 for those that say nothing.
      objects: position → what is on the image; asked for images that look like another only.
    """
    divided = np.full(len(labels), -1)
    order = np.argsort(labels, kind="stable")
    order = order[labels[order] >= 0]
    for group in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        if len(group) > 1:
            firsts = _firsts([objects(position) for position in group.tolist()])
            divided[group] = group[firsts]
    return divided


def _firsts(images: Sequence[Objects]) -> list[int]:
    """Returns for each of some images the first one that shows the same objects, which may be itself."""
    features = np.array([_feature(image) for image in images])
    firsts: list[int] = []
    leaders: list[int] = []
    for index, image in enumerate(images):
        found = index
        if leaders:
            distances = np.abs(features[leaders] - features[index]).max(axis=1)
            nearest = np.argsort(distances, kind="stable")[:_CLOSER_LOOKS]
            near = (leaders[place] for place in nearest.tolist() if distances[place] <= _FAR)
            found = next((leader for leader in near if is_same(images[leader], image)), index)
        if found == index:
            leaders.append(index)
        firsts.append(found)
    return firsts


def _feature(image: Objects) -> np.ndarray:
    return image.boxes.mean(axis=0) if len(image.boxes) else np.zeros(4)


def _overlaps(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns (n, m): intersection over union of every box with every other."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0.0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)

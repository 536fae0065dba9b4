"""Dataset statistics: images by split, and all their boxes as columns. n: boxes."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from efficientdet_pipeline.models.anchor_fit import AnchorGrid, canvas_scales
from tfrmod.annotated_image import AnnotatedImage
from tfrmod.near_duplicates import objects_of, twin_groups
from tfrmod.problems import Problem


class ImageStats(NamedTuple):
    """One usable image, without its pixels."""

    image: AnnotatedImage
    """Height, width and boxes refer to the upright image."""
    image_hash: int | None = None
    """From `tfrmod.near_duplicates.difference_hash`; None where the image was not decoded."""


class Boxes(NamedTuple):
    """All boxes of a data set, as columns."""

    corners: np.ndarray
    """(n, 4) float64: y0 x0 y1 x1 in pixels of the image."""
    image_index: np.ndarray
    """(n,) index of the box's image in `DatasetStats.images`."""
    name: np.ndarray
    """(n,) index of the box's class in `names`."""
    is_crowd: np.ndarray
    """(n,) bool."""
    names: tuple[str, ...]
    """The classes, sorted."""
    sizes: np.ndarray
    """(number of images, 2): height and width in pixels."""

    @property
    def sides(self) -> np.ndarray:
        """Returns (n, 2): height and width of each box."""
        return self.corners[:, 2:] - self.corners[:, :2]

    def scales(self, plan: "Plan") -> np.ndarray:
        """Returns (number of images, 2): canvas pixels per image pixel, vertically and horizontally."""
        return canvas_scales(self.sizes, plan.canvas, resize=plan.resize)

    def on_canvas(self, plan: "Plan") -> np.ndarray:
        """Returns (n, 4): the boxes in canvas pixels."""
        return self.corners * np.tile(self.scales(plan)[self.image_index], 2)


@dataclass(frozen=True, kw_only=True)
class DatasetStats:
    """Statistics of a data set."""

    splits: Mapping[str, Sequence[ImageStats]]
    """The usable images by split (train, val, test), as a training would divide them."""
    problems: Sequence[Problem] = ()
    """Problems that the conversion found."""
    num_files: int = 0
    """Number of image files, including those that cannot be used."""
    class_ids: Mapping[int, str] = field(default_factory=dict)
    """{id: name} in the records; empty for images, whose classes get ids when they are converted."""
    is_sample: bool = False
    """Whether only a part of the data was read."""
    label_map: Mapping[int, str] = field(default_factory=dict)
    """{id: name} as given, or as the annotations state; empty if these have names only."""
    unlisted: Sequence[ImageStats] = ()
    """Usable images in none of the splits, because the chosen lists do not name them."""
    lists: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The data set's own lists: image names by list."""
    chosen_lists: tuple[str, str] | None = None
    """The lists used as train and val; None if the images are divided by fractions."""

    @functools.cached_property
    def images(self) -> list[ImageStats]:
        """Returns the images of all splits, split after split."""
        return [seen for part in self.splits.values() for seen in part]

    @functools.cached_property
    def split_of(self) -> list[str]:
        """Returns the split of each of `images`."""
        return [name for name, part in self.splits.items() for _ in part]

    @functools.cached_property
    def boxes(self) -> Boxes:
        """Returns the boxes of `images`."""
        indexed_objects = [(number, obj) for number, seen in enumerate(self.images) for obj in seen.image.objects]
        names = tuple(sorted({obj.name for _, obj in indexed_objects}))
        index = {name: position for position, name in enumerate(names)}
        return Boxes(
            corners=np.array([obj.box for _, obj in indexed_objects], float).reshape(-1, 4),
            image_index=np.array([number for number, _ in indexed_objects], int),
            name=np.array([index[obj.name] for _, obj in indexed_objects], int),
            is_crowd=np.array([obj.is_crowd for _, obj in indexed_objects], bool),
            names=names,
            sizes=np.array([(seen.image.height, seen.image.width) for seen in self.images], float).reshape(-1, 2),
        )

    @functools.cached_property
    def equal_groups(self) -> list[list[int]]:
        """Returns the indices in `images` of byte-identical images, two or more in each group."""
        groups: dict[str, list[int]] = {}
        for position, seen in enumerate(self.images):
            if seen.image.sha256:
                groups.setdefault(seen.image.sha256, []).append(position)
        return [group for group in groups.values() if len(group) > 1]

    @functools.cached_property
    def alike_groups(self) -> list[list[int]]:
        """Returns the indices of images that look alike and have the same objects, two or more in each group.

        Byte-identical images are included. The rule is that of the conversion, so both count the same leaks.
        """
        hashes = [seen.image.sha256 for seen in self.images]
        # Without a hash, as in some records, an image equals no other: counting from the end gives unique values.
        identities = [int(digest[:16], 16) if digest else 2**64 - 1 - index for index, digest in enumerate(hashes)]
        groups = twin_groups(
            np.array(identities, np.uint64),
            np.array([seen.image_hash or 0 for seen in self.images], np.uint64),
            objects=lambda index: objects_of(self.images[index].image),
        )
        return [group.tolist() for group in groups]

    def file(self, image_index: int) -> str:
        """Returns the name of one of `images`."""
        return self.images[image_index].image.filename

    def boxes_per_class(self, split: str | None = None) -> dict[str, int]:
        """Returns {class: number of boxes} of one split, or of all; includes classes without boxes."""
        boxes = self.boxes
        if split is None:
            counts = np.bincount(boxes.name, minlength=len(boxes.names))
        else:
            inside = np.array([name == split for name in self.split_of], bool)
            counts = np.bincount(boxes.name[inside[boxes.image_index]], minlength=len(boxes.names))
        return dict(zip(boxes.names, counts.tolist(), strict=True))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The training that the data is checked for."""

    grid: AnchorGrid
    has_own_anchors: bool = True
    """Whether the grid is the network's; a detector built from parts may have other anchors, or none."""
    max_detections: int
    """Maximum detections per image (nms_configs.max_output_size)."""
    max_instances: int | None = None
    """Maximum boxes per image in training; None means all."""
    num_classes: int | None = None
    """As given; None takes it from the data."""
    label_map: Mapping[int, str] = field(default_factory=dict)
    """As given; empty if the data's own classes are used."""
    skips_crowds: bool = True
    """Whether training leaves out crowd boxes."""
    validates: bool = True
    """Whether validation images are needed."""
    resize: str = "letterbox"
    """How images are resized to the canvas: letterbox or stretch."""

    @property
    def canvas(self) -> tuple[int, int]:
        """Returns height and width of the network's canvas."""
        return self.grid.image_size

"""Made-up dataset statistics: images with boxes, and the plan of a D0 at 256 px."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from anchor_grids import grid_of

from efficientdet_pipeline.doctor.dataset_stats import DatasetStats, ImageStats, Plan
from efficientdet_pipeline.models.anchor_fit import AnchorGrid
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject

Object = tuple[Any, ...]


def image_stats(
    name: str,
    objects: Iterable[Object] = (),
    *,
    size: tuple[int, int] = (256, 256),
    sha256: str = "",
    image_hash: int | None = None,
) -> ImageStats:
    """Returns an image; an object is (class, y0, x0, y1, x1), its class an id or a name."""
    objects = tuple(
        AnnotatedObject(str(obj[0]), tuple(map(float, obj[1:5])), obj[0] if isinstance(obj[0], int) else 0)
        for obj in objects
    )
    image = AnnotatedImage(
        filename=f"{name}.jpg", objects=objects, height=size[0], width=size[1], format="jpeg", sha256=sha256
    )
    return ImageStats(image, image_hash)


@pytest.fixture
def image() -> Callable[..., ImageStats]:
    return image_stats


@pytest.fixture
def grid() -> Callable[..., AnchorGrid]:
    return grid_of


@pytest.fixture
def stats() -> Callable[..., DatasetStats]:
    """Returns a function: training images, validation images → statistics."""

    def make(train: Iterable[ImageStats], val: Iterable[ImageStats] = (), **more: Any) -> DatasetStats:
        splits = {"train": list(train), "val": list(val)}
        return DatasetStats(splits=splits, num_files=sum(map(len, splits.values())), **more)

    return make


@pytest.fixture
def plan() -> Callable[..., Plan]:
    def make(**changed: Any) -> Plan:
        return Plan(**{"grid": grid_of(), "max_detections": 100, **changed})

    return make

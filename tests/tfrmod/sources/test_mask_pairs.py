"""Tests of the pairing of masks with images by their names."""

import pytest

from tfrmod.errors import DatasetError
from tfrmod.sources import find_source, masks
from tfrmod.sources.files import list_files
from tfrmod.sources.mask_pairs import lossy_masks, mask_kind, pair_masks


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("masks/a.png", "semantic"), ("a_mask.tif", "semantic"), ("labels/train/a.png", "semantic"),
        ("instances/a.png", "instances"), ("SegmentationObject/a.png", "instances"),
        ("images/a.png", None), ("masks/a.jpg", None),
    ],
)  # fmt: skip
def test_mask_kind(path: str, kind: str | None) -> None:
    assert mask_kind(path) == kind


@pytest.mark.parametrize(
    ("paths", "lossy"),
    [
        (("images/a.png", "masks/a.jpg"), {"masks/a.jpg"}),
        (("images/a.jpg", "masks/train/a_mask.jpg"), {"masks/train/a_mask.jpg"}),
        (("a.jpg", "a_mask.webp"), {"a_mask.webp"}),
        # Images of a dataset whose folder says what it is for.
        (("detection/images/a.jpg", "segmentation/images/a.jpg"), set()),
        (("masks/a.jpg", "masks/b.jpg"), set()),
        (("images/b.png", "masks/a.jpg"), set()),
    ],
)
def test_lossy_masks(paths: tuple[str, ...], lossy: set[str]) -> None:
    assert lossy_masks(paths) == lossy


def test_pair_masks_takes_no_mask_for_an_image(put) -> None:
    folder = put({"images/a.jpg": None, "masks/a.jpg": None, "masks/a.bmp": b""})
    found = pair_masks(list_files(folder))
    assert found.pairs == {"images/a.jpg": {"semantic": "masks/a.bmp", "instances": []}}
    assert found.lossy == ["masks/a.jpg"]


def test_lossy_masks_alone_are_named(put) -> None:
    folder = put({"images/a.jpg": None, "masks/a.jpg": None})
    with pytest.raises(DatasetError, match=r"1 masks, for example masks/a.jpg, have a lossy format: the compression"):
        masks.listing(folder)
    with pytest.raises(DatasetError, match=r"No semantic maps .* have a lossy format"):
        find_source(folder, semantic=True)

import hashlib
from pathlib import Path

import pytest

from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject
from tfrmod.errors import DatasetError


def test_annotated_image_area_is_that_of_the_box_unless_a_mask_knows_better() -> None:
    thing = AnnotatedObject("cat", (1.0, 2.0, 4.0, 6.0))
    assert thing.area == 12
    assert thing._replace(mask_area=7.5).area == 7.5


def test_annotated_image_numbering_needs_every_class() -> None:
    image = AnnotatedImage(filename="a.jpg", objects=(AnnotatedObject("cat", (0, 0, 1, 1)),))
    assert image.with_class_ids({"cat": 3}).objects[0].class_id == 3
    with pytest.raises(KeyError, match="cat"):
        image.with_class_ids({"dog": 1})


def test_annotated_image_bytes_are_loaded_only_if_they_are_those_that_were_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"pixels")
    image = AnnotatedImage(filename="a.jpg", path=path, sha256=hashlib.sha256(b"pixels").hexdigest())
    assert image.loaded().encoded == b"pixels"
    assert image.loaded().loaded() == image.loaded()
    path.write_bytes(b"others")
    with pytest.raises(DatasetError, match=r"a\.jpg changed"):
        image.loaded()

"""Annotated image: the value that every source yields and every record stores."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

from tfrmod.errors import DatasetError

Box = tuple[float, float, float, float]


class AnnotatedObject(NamedTuple):
    """One object in an image."""

    name: str
    """The class, spelt as the annotation spells it, without outer spaces."""
    box: Box
    """(y0, x0, y1, x1) in pixels of the original image."""
    class_id: int = 0
    """The number of the class in the label map, from 1; 0 means not numbered yet."""
    difficult: bool = False
    """Hard to recognise, says the annotation (VOC)."""
    truncated: bool = False
    """Only partly inside the image, says the annotation (VOC)."""
    is_crowd: bool = False
    """A group of objects that cannot be distinguished (COCO)."""
    view: str = ""
    """The side it shows (VOC's pose)."""
    mask_area: float | None = None
    """Pixels of its outline where the source knows one; otherwise the box's area is used."""
    mask: bytes = b""
    """A PNG of the image's size, 1 where the object is and 0 elsewhere; empty where none was asked for or known."""

    @property
    def area(self) -> float:
        """Returns the size of the object in square pixels of the original image."""
        if self.mask_area is not None:
            return self.mask_area
        y0, x0, y1, x1 = self.box
        return max(0.0, y1 - y0) * max(0.0, x1 - x0)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatedImage:
    """An image, where its bytes are, and the objects in it.

    A source fills in what an annotation *claims* (its size may be 0: silent).
    `validate_image.validate_image` replaces that by what is true of the image; from then on
    height and width are those of the upright image.
    """

    filename: str
    """Relative to the folder of the dataset, with forward slashes: the image's name everywhere."""
    objects: tuple[AnnotatedObject, ...] = ()
    height: int = 0
    width: int = 0
    path: Path | None = None
    """Where the bytes are that belong into the record; None where `encoded` holds them."""
    encoded: bytes = b""
    format: str = ""
    """jpeg or png: what the encoded bytes are, not what a name says."""
    sha256: str = ""
    """Hex digest of the encoded bytes."""
    source_id: str = ""
    segmentation: bytes = b""
    """A PNG of the image's size: the class of every pixel, 0 for none, 255 for those that do not count; or empty."""

    def with_class_ids(self, class_ids: dict[str, int]) -> Self:
        """Returns the same image with every object numbered.

        Raises:
          KeyError: an object's class has no number.
        """
        objects = tuple(obj._replace(class_id=class_ids[obj.name]) for obj in self.objects)
        return replace(self, objects=objects)

    def loaded(self) -> Self:
        """Returns the same image with its bytes.

        Raises:
          DatasetError: they are not those that were checked.
        """
        if self.path is None:
            return self
        encoded = self.path.read_bytes()
        if hashlib.sha256(encoded).hexdigest() != self.sha256:
            raise DatasetError(f"{self.filename} changed while the dataset was being converted. Convert it again.")
        return replace(self, encoded=encoded, path=None)

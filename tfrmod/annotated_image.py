"""Annotated image: the common type of sources and records."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

from tfrmod.errors import DatasetError

Box = tuple[float, float, float, float]


class AnnotatedObject(NamedTuple):
    """One object in an image."""

    name: str
    """Class name as spelled in the annotation, without surrounding spaces."""
    box: Box
    """(y0, x0, y1, x1) in pixels of the original image."""
    class_id: int = 0
    """Id of the class in the label map, from 1; 0: no id yet."""
    difficult: bool = False
    """Marked as difficult to recognize (VOC)."""
    truncated: bool = False
    """Marked as extending beyond the image (VOC)."""
    is_crowd: bool = False
    """Marked as a group of objects that cannot be separated (COCO)."""
    view: str = ""
    """Viewpoint (VOC's pose)."""
    mask_area: float | None = None
    """Area of the outline in pixels if the source has one; otherwise the area of the box is used."""
    mask: bytes = b""
    """PNG of the image's size, 1 inside the object and 0 elsewhere; empty if not requested or not available."""

    @property
    def area(self) -> float:
        """Returns the area of the object in square pixels of the original image."""
        if self.mask_area is not None:
            return self.mask_area
        y0, x0, y1, x1 = self.box
        return max(0.0, y1 - y0) * max(0.0, x1 - x0)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatedImage:
    """An image, the location of its bytes, and its objects.

    A source fills in the *stated* values of an annotation (a size of 0: not
    stated). `validate_image.validate_image` replaces them by the actual ones;
    height and width are then those of the upright image.
    """

    filename: str
    """Path relative to the folder of the dataset, with forward slashes; identifies the image."""
    objects: tuple[AnnotatedObject, ...] = ()
    height: int = 0
    width: int = 0
    path: Path | None = None
    """File with the bytes for the record; None if `encoded` has them."""
    encoded: bytes = b""
    format: str = ""
    """jpeg or png: format of the encoded bytes, whatever the file extension."""
    sha256: str = ""
    """Hex digest of the encoded bytes."""
    source_id: str = ""
    segmentation: bytes = b""
    """PNG of the image's size: class id of each pixel, 0 for none, 255 for ignored pixels; or empty."""

    def with_class_ids(self, class_ids: dict[str, int]) -> Self:
        """Returns a copy in which every object has its class id.

        Raises:
          KeyError: the class of an object has no id.
        """
        objects = tuple(obj._replace(class_id=class_ids[obj.name]) for obj in self.objects)
        return replace(self, objects=objects)

    def loaded(self) -> Self:
        """Returns a copy with the bytes of the image.

        Raises:
          DatasetError: the file has changed since it was validated.
        """
        if self.path is None:
            return self
        encoded = self.path.read_bytes()
        if hashlib.sha256(encoded).hexdigest() != self.sha256:
            raise DatasetError(f"{self.filename} changed during the conversion of the dataset. Convert it again.")
        return replace(self, encoded=encoded, path=None)

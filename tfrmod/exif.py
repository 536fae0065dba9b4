"""EXIF orientation: rotation of images and boxes to upright.

The eight values define the sides of the image on which the first stored row and
column are (EXIF 2.32, tag 0x0112): 1 upright, 2 mirrored, 3 upside down, 4 both,
5 to 8 the same with height and width exchanged.
"""

import struct

from PIL import Image

from tfrmod.annotated_image import Box

UPRIGHT = 1
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TAG = 0x0112


def exif_orientation(exif: bytes) -> int:
    """Returns 1 to 8 from a block of EXIF data, 1 if it has no orientation or is damaged."""
    data = exif.removeprefix(b"Exif\x00\x00")
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return UPRIGHT
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        for index in range(count):
            tag, kind = struct.unpack_from(f"{order}HH", data, start + 2 + 12 * index)
            if tag == _TAG:
                (value,) = struct.unpack_from(f"{order}{'I' if kind == 4 else 'H'}", data, start + 10 + 12 * index)
                return value if value in TURNS else UPRIGHT
    except struct.error:
        pass
    return UPRIGHT


def swaps_sides(orientation: int) -> bool:
    """Returns whether height and width of the upright image are exchanged."""
    return orientation >= 5


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Returns the upright image of a stored image."""
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def upright_box(box: Box, orientation: int, *, height: float, width: float) -> Box:
    """Returns a box of the stored image in coordinates of the upright image.

    Args:
      box: (y0, x0, y1, x1) in stored pixels.
      orientation: 1 to 8.
      height: of the stored image.
      width: of the stored image.
    """
    y0, x0, y1, x1 = box
    if orientation in (2, 3, 7, 8):
        x0, x1 = width - x1, width - x0
    if orientation in (3, 4, 6, 7):
        y0, y1 = height - y1, height - y0
    return (x0, y0, x1, y1) if swaps_sides(orientation) else (y0, x0, y1, x1)

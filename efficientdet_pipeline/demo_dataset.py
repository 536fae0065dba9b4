"""The embedded dataset: drawn images of shapes, as a Pascal VOC zip.

Circles, squares, triangles and stars are drawn on textured backgrounds, and some
images are empty. Each image is a function of (seed, index), so the same seed
gives the same bytes (for one version of OpenCV), and a longer set starts with
the images of a shorter one. Classes differ reliably in shape only; colour helps,
because each class prefers a range of hues that overlaps with its neighbours'.
"""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

import cv2
import numpy as np

JPEG_QUALITY = 88
EMPTY_EVERY = 11
"""Interval of images without objects."""
TEST_EVERY = 6
"""Interval of test images."""
MAX_OBJECTS = 4
OBJECT_SIDE = (0.28, 0.6)
"""Longer side of an object, as a fraction of the image's shorter side."""
MAX_COVERED = 0.15
"""Maximum share of the smaller of two boxes that may overlap."""
HUE_SPREAD = 40.0
"""Range of a class's hue in degrees, to either side; the classes are 90 degrees apart, so neighbours nearly meet."""


def _outline(num_corners: int, inner_radius: float = 1.0) -> np.ndarray:
    """Returns corners (m, 2) on the unit circle; every second one at `inner_radius`."""
    angles = np.arange(num_corners) * 2 * np.pi / num_corners
    radii = np.where(np.arange(num_corners) % 2, inner_radius, 1.0)
    return np.stack([np.sin(angles) * radii, np.cos(angles) * radii], axis=1)


SHAPES = {
    "circle": _outline(64),
    "square": _outline(4),
    "star": _outline(10, inner_radius=0.4),
    "triangle": _outline(3),
}


class DrawnObject(NamedTuple):
    """A shape in an image; the box (y0, x0, y1, x1) is tight, in integer pixels."""

    name: str
    box: tuple[int, int, int, int]


def write_demo_dataset(
    path: Path,
    *,
    num_images: int = 240,
    image_size: tuple[int, int] = (160, 160),
    seed: int = 0,
) -> Path:
    """Writes a VOC zip of drawn images, and returns its `path`.

    The zip contains JPEGImages, Annotations and ImageSets/Main with trainval.txt
    (five sixths) and test.txt (one sixth). It gets its name only when it is
    complete.

    Args:
      image_size: (height, width) in pixels; at least 32 each.
      num_images: in both lists together; at least 12, so that both have some.

    Raises:
      ValueError: there are too few images, or they are too small.
    """
    if num_images < EMPTY_EVERY:
        raise ValueError(f"The demo dataset needs at least {EMPTY_EVERY} images. Received num_images={num_images}.")
    if min(image_size) < 32:
        raise ValueError(f"Demo images must be at least 32 pixels high and wide. Received image_size={image_size}.")
    members: dict[str, bytes] = {}
    lists: dict[str, list[str]] = {"trainval": [], "test": []}
    for index in range(num_images):
        name = f"shapes_{index:05d}"
        image, objects = draw_image(index, image_size=image_size, seed=seed)
        members[f"JPEGImages/{name}.jpg"] = _jpeg(image)
        members[f"Annotations/{name}.xml"] = _annotation(f"{name}.jpg", objects, image_size).encode()
        lists["test" if index % TEST_EVERY == TEST_EVERY - 1 else "trainval"].append(name)
    for split, names in lists.items():
        members[f"ImageSets/Main/{split}.txt"] = "".join(f"{name}\n" for name in names).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(_zip(members))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def draw_image(index: int, *, image_size: tuple[int, int], seed: int) -> tuple[np.ndarray, list[DrawnObject]]:
    """Returns an image (h, w, 3) uint8 RGB and its objects, lowest first.

    Args:
      index: index in the set; determines whether the image is empty.
      image_size: (height, width) in pixels.
      seed: of the whole set.
    """
    rng = np.random.default_rng([seed, index])
    image = GROUNDS[rng.integers(len(GROUNDS))](rng, *image_size)
    objects: list[DrawnObject] = []
    wanted = 0 if index % EMPTY_EVERY == EMPTY_EVERY // 2 else int(rng.integers(1, MAX_OBJECTS + 1))
    for _ in range(4 * wanted):  # A shape without room is drawn again elsewhere, a few times.
        if len(objects) == wanted:
            break
        name = list(SHAPES)[rng.integers(len(SHAPES))]
        mask = _shape_mask(rng, SHAPES[name], image_size)
        box = _tight_box(mask)
        if all(_covered(box, other.box) <= MAX_COVERED for other in objects):
            rows, columns = slice(box[0] - 1, box[2] + 1), slice(box[1] - 1, box[3] + 1)  # with the soft edge
            window, mask = image[rows, columns], mask[rows, columns]
            window += (_fill(rng, name, mask) - window) * mask[..., None]
            objects.append(DrawnObject(name, box))
    image += 0.012 * rng.standard_normal(image.shape, np.float32)
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8), objects


def _plain(rng: np.random.Generator) -> np.ndarray:
    """Returns a desaturated RGB colour for backgrounds."""
    return _rgb(rng.uniform(0, 360), rng.uniform(0, 0.35), rng.uniform(0.2, 0.85))


def _rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    pixel = np.array([[[hue % 360, saturation, value]]], np.float32)
    return cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float64)


def _ramp(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Returns (h, w) values that increase from 0 to 1 in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    plane = np.arange(height)[:, None] * np.sin(angle) + np.arange(width)[None] * np.cos(angle)
    return (plane - plane.min()) / np.ptp(plane)


def _mix(rng: np.random.Generator, weight: np.ndarray) -> np.ndarray:
    first, second = _plain(rng), _plain(rng)
    return first + (second - first) * weight[..., None]


def _gradient(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return _mix(rng, _ramp(rng, height, width))


def _stripes(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    wave = np.sin(_ramp(rng, height, width) * rng.uniform(20, 90))
    return _mix(rng, 0.5 + 0.35 * wave)


def _checks(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    across, down = (np.sin(_ramp(rng, height, width) * rng.uniform(20, 60)) for _ in range(2))
    return _mix(rng, 0.5 + 0.35 * np.sign(across * down))


def _clouds(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    cells = int(rng.integers(4, 20))
    coarse = rng.uniform(size=(cells, cells, 3))
    return _plain(rng) + 0.5 * (cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) - 0.5)


def _grain(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return _gradient(rng, height, width) + 0.09 * rng.standard_normal((height, width, 1), np.float32)


GROUNDS: tuple[Callable[[np.random.Generator, int, int], np.ndarray], ...] = (
    _gradient,
    _stripes,
    _checks,
    _clouds,
    _grain,
)


def _shape_mask(rng: np.random.Generator, outline: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Returns the coverage (h, w) 0…1 of a shape, stretched, rotated and placed completely inside the image."""
    angle, stretch = rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 1.25)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = outline * [1, stretch] @ rotation.T
    corners -= corners.min(axis=0)
    corners *= rng.uniform(*OBJECT_SIDE) * min(image_size) / corners.max()
    corners += rng.uniform(1, np.array(image_size) - 2 - corners.max(axis=0))
    mask = np.zeros(image_size, np.uint8)
    sixteenths = np.rint(corners[:, ::-1] * 16).astype(np.int32)
    cv2.fillPoly(mask, [sixteenths], 255, lineType=cv2.LINE_AA, shift=4)
    return mask / 255.0


def _fill(rng: np.random.Generator, name: str, mask: np.ndarray) -> np.ndarray:
    """Returns a saturated image (h, w, 3) to fill a shape: a gradient, sometimes with an outline."""
    hue = list(SHAPES).index(name) * 360 / len(SHAPES) + rng.uniform(-HUE_SPREAD, HUE_SPREAD)
    value = rng.uniform(0.55, 1)
    light = _rgb(hue, rng.uniform(0.5, 1), value)
    dark = _rgb(hue + rng.uniform(-20, 20), rng.uniform(0.5, 1), value * rng.uniform(0.5, 0.9))
    fill = light + (dark - light) * _ramp(rng, *mask.shape)[..., None]
    if rng.uniform() < 0.4:
        inside = cv2.erode(mask, np.ones((5, 5)))[..., None]
        fill = rng.uniform(0, 1) * (1 - inside) + fill * inside
    return fill


def _tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = (np.flatnonzero((mask > 0.5).any(axis=axis)) for axis in (1, 0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _covered(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> float:
    """Returns the share of the smaller box that is in the intersection."""
    height = min(first[2], second[2]) - max(first[0], second[0])
    width = min(first[3], second[3]) - max(first[1], second[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return max(height, 0) * max(width, 0) / smaller


def _jpeg(image: np.ndarray) -> bytes:
    encoded, jpeg = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not encoded:
        raise OSError("OpenCV could not encode a demo image as JPEG; its build may lack JPEG support.")
    return jpeg.tobytes()


def _annotation(filename: str, objects: list[DrawnObject], image_size: tuple[int, int]) -> str:
    """Returns the VOC XML; VOC counts pixels from 1, and the second corner is the last pixel of the object."""
    found = "".join(
        f"<object><name>{escape(name)}</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>"
        f"<bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>\n"
        for name, (y0, x0, y1, x1) in objects
    )
    return (
        f"<annotation>\n<folder>JPEGImages</folder><filename>{escape(filename)}</filename>\n"
        f"<size><width>{image_size[1]}</width><height>{image_size[0]}</height><depth>3</depth></size>\n"
        f"<segmented>0</segmented>\n{found}</annotation>\n"
    )


def _zip(members: dict[str, bytes]) -> bytes:
    """Returns a zip whose bytes depend only on the members: uncompressed, with a fixed date and system."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return buffer.getvalue()

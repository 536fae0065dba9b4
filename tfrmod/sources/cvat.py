"""CVAT for images: an XML file that lists images with boxes, polygons, ellipses and masks.

<annotations><image name width height><box label xtl ytl xbr ybr rotation/>
<polygon label points="x,y;x,y"/> … </image></annotations>. Tracks of the format
for videos refer to frames instead of images, and are rejected.
"""

from pathlib import Path

from lxml import etree

from tfrmod.annotated_image import Box
from tfrmod.errors import DatasetError
from tfrmod.problems import Problem
from tfrmod.sources import drawn
from tfrmod.sources.drawn import Drawn, Shape
from tfrmod.sources.files import Files, list_files
from tfrmod.sources.recognition import UNREAD, has_xml, xml_files
from tfrmod.sources.source import Listing
from tfrmod.sources.split_names import set_name
from tfrmod.sources.voc_xml import local_name, parse

_ROOT = "annotations"
_NO_AREA = {
    "polyline": "a polyline, which has no area",
    "points": "points, which have no area",
    "cuboid": "a cuboid, which is not a box",
    "skeleton": "a skeleton, which is not a box",
    "tag": "a tag of the whole image, which has no position in it",
}

read = drawn.read


def is_here(folder: Path, files: Files) -> bool:
    """Returns whether an XML file has CVAT's list of images."""
    return has_xml(folder, files, "cvat")


def listing(folder: Path) -> Listing:
    """Returns the images in CVAT's files, with their subsets.

    Raises:
      DatasetError: there is no such file, one has tracks, or none has a usable image.
    """
    files = list_files(folder)
    paths = sorted([*xml_files(folder, files, "cvat"), *xml_files(folder, files, "cvat_video")])
    if not paths:
        raise DatasetError(
            f"Expected an XML file of CVAT for images in {folder}, <annotations> with <image> elements, and found none "
            f"among {len(files.xml)} XML files."
        )
    by_file: dict[str, list[Drawn]] = {}
    problems: list[Problem] = []
    for path in paths:
        try:
            root, guessed = parse(folder / path, _ROOT)
        except DatasetError as error:
            problems.append(Problem("annotation_malformed", path, str(error)))
            continue
        if guessed:
            problems.append(Problem("encoding_guessed", path, f"read as {guessed}"))
        by_file[path] = _images(root, path)
    return drawn.listing_of(folder, files, by_file, problems)


def _images(root: etree._Element, path: str) -> list[Drawn]:
    images = []
    for node in root.iterchildren(etree.Element):
        tag = local_name(node.tag)
        if tag == "track":
            raise DatasetError(
                f"{path} is {UNREAD['cvat_video'].title}, which is not read. {UNREAD['cvat_video'].advice}"
            )
        if tag == "image":
            images.append(_image(node))
    return images


def _image(node: etree._Element) -> Drawn:
    shapes, unreadable = [], []
    for child in node.iterchildren(etree.Element):
        try:
            if local_name(child.tag) != "attribute":
                shapes.append(_shape(child))
        except DatasetError as error:
            unreadable.append(f"{child.get('label', 'no label')[:60]}: {error}")
    return Drawn(
        (node.get("name") or "").strip(),
        tuple(shapes),
        tuple(unreadable),
        drawn.pixels(node.get("height")),
        drawn.pixels(node.get("width")),
        set_name(node.get("subset") or ""),
    )


def _shape(node: etree._Element) -> Shape:
    label, tag = node.get("label"), local_name(node.tag)
    degrees = drawn.number(node.get("rotation") or 0)
    if tag == "box":
        x0, y0, x1, y1 = _numbers(node, "xtl", "ytl", "xbr", "ybr")
        box: Box = (y0, x0, y1, x1)
        if not degrees % 360:
            return drawn.shape(label, box)
        return drawn.shape(label, *drawn.outline(drawn.turned(box, degrees)))
    if tag == "polygon":
        return drawn.shape(label, *drawn.outline(_points(node.get("points") or "")))
    if tag == "ellipse":
        x, y, across, down = _numbers(node, "cx", "cy", "rx", "ry")
        return drawn.shape(label, drawn.ellipse_box((x, y), (across, down), degrees * drawn.RADIANS))
    if tag == "mask":
        x, y, width, height = _numbers(node, "left", "top", "width", "height")
        return drawn.shape(label, (y, x, y + height, x + width))
    raise DatasetError(_NO_AREA.get(tag, f"a shape <{tag[:40]}> that is unknown"))


def _numbers(node: etree._Element, *names: str) -> list[float]:
    return [drawn.number(node.get(name)) for name in names]


def _points(text: str) -> list[tuple[float, float]]:
    points = []
    for point in text.split(";"):
        x, _, y = point.partition(",")
        points.append((drawn.number(x), drawn.number(y)))
    return points

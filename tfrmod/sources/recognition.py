"""Detection of the tool that wrote a JSON or XML file, by the structure of its content."""

import functools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from tfrmod.errors import DatasetError
from tfrmod.sources.files import Files
from tfrmod.sources.json_stream import Piece, elements, is_array, pieces
from tfrmod.text import decode_text

_HEAD_BYTES = 1 << 16
_MAX_PIECES = 20_000
_PROBED_PER_FOLDER = 20
_COCO_LIST = re.compile(r'"(images|annotations|categories)"\s*:\s*\[')
_COMMENT = re.compile(r"<!--.*?(-->|\Z)", re.DOTALL)
_FIRST_TAG = re.compile(r"<([A-Za-z_][\w.:-]*)")


class Export(NamedTuple):
    """A format that is recognized, but not supported."""

    title: str
    advice: str


UNREAD = {
    "labelstudio": Export("Label Studio's own JSON", "Export the project from Label Studio as COCO or YOLO."),
    "supervisely": Export("Supervisely's own JSON", "Export the project from Supervisely as COCO or Pascal VOC."),
    "datumaro": Export("Datumaro's own JSON", "Convert it with Datumaro, or export from CVAT, as COCO or Pascal VOC."),
    "via3": Export("a project of VIA 3", "Annotate with VIA 2, or export the project as COCO."),
    "darwin": Export("V7 Darwin's JSON", "Export the dataset from V7 as COCO or Pascal VOC."),
    "vott": Export("VoTT's own JSON", "Export the project from VoTT as Pascal VOC or CSV."),
    "superannotate": Export("SuperAnnotate's own JSON", "Convert it to COCO with SuperAnnotate's Python SDK."),
    "labelbox": Export("Labelbox's own JSON", "Convert the export to COCO."),
    "bdd100k": Export("BDD100K's (Scalabel's) JSON", "Convert it to COCO with the tool kit of BDD100K."),
    "cvat_video": Export(
        "CVAT for video (tracks in an XML)", "Export the task from CVAT as 'CVAT for images 1.1', COCO or YOLO."
    ),
}


def json_kind(path: Path) -> str:
    """Returns coco, labelme, via, createml, a key of `UNREAD`, or "" for any other JSON.

    The kind is determined by the top-level keys and the first element of their
    lists: a list `categories` is not sufficient, since many tools write one.
    """
    try:
        status = path.stat()
        return _json_kind(path, status.st_mtime_ns, status.st_size)
    except OSError:
        return ""


def xml_kind(path: Path) -> str:
    """Returns voc, cvat, cvat_video, or "" for any other XML, by the outermost tag."""
    try:
        status = path.stat()
        return _xml_kind(path, status.st_mtime_ns, status.st_size)
    except OSError:
        return ""


def is_other_xml(path: Path) -> bool:
    """Returns whether an XML is not an annotation, such as GDAL's p0.jpg.aux.xml."""
    try:
        return not xml_kind(path) and _outermost_tag(_head(path)) != ""
    except OSError:
        return False


def json_files(folder: Path, files: Files, kind: str) -> list[str]:
    """Returns the JSON files of one kind."""
    return [path for path in files.json if json_kind(folder / path) == kind]


def loose_coco_files(folder: Path, files: Files) -> list[str]:
    """Returns the JSON files of unknown kind that contain the name of one of COCO's lists."""
    unknown = json_files(folder, files, "")
    return [path for path in unknown if _COCO_LIST.search(_head(folder / path))]


def xml_files(folder: Path, files: Files, kind: str) -> list[str]:
    """Returns the XML files of one kind."""
    return [path for path in files.xml if xml_kind(folder / path) == kind]


def has_xml(folder: Path, files: Files, kind: str) -> bool:
    """Returns whether there is an XML file of one kind among the first ones of each folder.

    An export is one file, or one per job; a dataset with one XML per image need
    not be searched completely.
    """
    by_folder: dict[PurePosixPath, list[str]] = defaultdict(list)
    for path in files.xml:
        by_folder[PurePosixPath(path).parent].append(path)
    probed = (path for paths in by_folder.values() for path in paths[:_PROBED_PER_FOLDER])
    return any(xml_kind(folder / path) == kind for path in probed)


def unread_exports(folder: Path, files: Files) -> str:
    """Returns sentences about exports that are recognized but not supported, "" if there are none."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in files.json:
        found[json_kind(folder / path)].append(path)
    found["cvat_video"] = xml_files(folder, files, "cvat_video")
    return " ".join(
        f"{_some(found[kind])} {'is' if len(found[kind]) == 1 else 'are'} {export.title}, which is not read here. "
        f"{export.advice}"
        for kind, export in UNREAD.items()
        if found.get(kind)
    )


def _some(paths: list[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


@functools.lru_cache(maxsize=1 << 16)
def _json_kind(path: Path, changed: int, size: int) -> str:
    firsts: dict[str, Any] = {}
    try:
        for number, (key, value, *_) in enumerate(_outermost(path)):
            if key not in firsts:
                firsts[key] = value
                kind = _kind_of_array(value) if key == "" else _kind_of_object(firsts)
                if kind:
                    return kind
            if key == "" or number > _MAX_PIECES:
                break
    except DatasetError:
        # Damaged: its reader will report the fault, so a weak indication is enough here.
        return "coco" if not firsts.keys() - {"info", "licenses"} and _COCO_LIST.search(_head(path)) else ""
    return ""


def _outermost(path: Path) -> Iterator[Piece]:
    return elements(path) if is_array(path) else pieces(path)


def _kind_of_array(first: Any) -> str:
    """Returns the kind of a JSON array, by its first element."""
    if not isinstance(first, dict):
        return ""
    if "data" in first and _has_any(first, "annotations", "completions", "predictions"):
        return "labelstudio"
    if "annotator" in first and _has_any(first, "annotation_id", "lead_time"):
        return "labelstudio"  # Its compact JSON (JSON-MIN).
    if _has_any(first, "data_row", "DataRow ID", "External ID"):
        return "labelbox"
    if isinstance(first.get("labels"), list) and "name" in first:
        return "bdd100k"
    listed = first.get("annotations", first.get("annotation"))
    is_named = any(isinstance(first.get(key), str) for key in ("image", "imagefilename", "filename"))
    if is_named and isinstance(listed, list):
        fits = [isinstance(one, dict) and {"label", "coordinates"} <= one.keys() for one in listed[:10]]
        return "createml" if any(fits) or not fits else ""
    return ""


def _kind_of_object(firsts: dict[str, Any]) -> str:
    """Returns the kind of a JSON object.

    Args:
      firsts: {top-level key: its value, for a list the first element}, as far as it was read.
    """

    def has(key: str, *inner: str) -> bool:
        value = firsts.get(key)
        return isinstance(value, dict) and value.keys() >= set(inner)

    signs = {
        "coco": has("images", "file_name")
        or (has("images", "id") and not has("images", "annotations"))
        or has("annotations", "image_id"),
        "labelme": "imagePath" in firsts and _has_any(firsts, "shapes", "imageData", "imageHeight"),
        "via": "_via_img_metadata" in firsts
        or any(isinstance(value, dict) and {"filename", "regions"} <= value.keys() for value in firsts.values()),
        "via3": has("project", "pid", "data_format_version"),
        "supervisely": has("objects", "classTitle")
        or has("classes", "title", "shape")
        or (has("size", "height", "width") and "description" in firsts),
        "datumaro": has("items", "id", "annotations") or has("categories", "label"),
        "labelstudio": has("annotations", "result") or ("data" in firsts and _has_any(firsts, "completions")),
        "darwin": has("item", "slots") or has("annotations", "bounding_box") or has("annotations", "slot_names"),
        "vott": has("asset", "id", "path") or {"assets", "visitedFrames"} <= firsts.keys(),
        "superannotate": has("instances", "className") or has("metadata", "lastAction"),
    }
    return next((kind for kind, fits in signs.items() if fits), "")


def _has_any(mapping: Iterable[str], *keys: str) -> bool:
    return not set(keys).isdisjoint(mapping)


def _head(path: Path) -> str:
    """Returns the beginning of a text file, "" for other files."""
    with path.open("rb") as file:
        data = file.read(_HEAD_BYTES)
    try:
        return decode_text(data).text
    except DatasetError:
        return data.decode("latin-1")


@functools.lru_cache(maxsize=1 << 16)
def _xml_kind(path: Path, changed: int, size: int) -> str:
    head = _COMMENT.sub("", _head(path))
    tag = _outermost_tag(head)
    if tag == "annotation":
        return "voc"
    if tag != "annotations":
        return ""
    return "cvat_video" if re.search(r"<track\s", head) and not re.search(r"<image\s", head) else "cvat"


def _outermost_tag(head: str) -> str:
    """Returns the first tag without its namespace, "" if there is none."""
    found = _FIRST_TAG.search(_COMMENT.sub("", head))
    return found.group(1).rpartition(":")[2].lower() if found else ""

"""Fuzz tests of damaged annotations: readers raise only their own errors, and neither write, execute nor connect."""

import contextlib
import itertools
import json
import math
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audit_watch import Watch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfrmod.errors import DatasetError
from tfrmod.masks import array_png
from tfrmod.problems import CODES
from tfrmod.sources import SOURCES, find_source

NUM_QUICK, NUM_SLOW = 40, 10_000  # Of each kind.
MAX_SECONDS, MAX_MEMORY_BYTES = 10.0, 1 << 30  # Of the processor: others may keep it busy.
_SQUARE = [1, 1, 5, 1, 5, 5]
_COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 6}, {"id": 2, "file_name": "b.png"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4.5], "area": 9.5, "segmentation": [_SQUARE]},
        {
            "id": 2,
            "image_id": 2,
            "category_id": 2,
            "bbox": [0, 0, 2, 2],
            "iscrowd": 1,
            "segmentation": {"size": [6, 8], "counts": "<d0"},
        },
        {
            "id": 3,
            "image_id": 1,
            "category_id": 1,
            "bbox": [1, 1, 2, 2],
            "segmentation": {"size": [6, 8], "counts": [40, 8]},
        },
    ],
    "categories": [{"id": 1, "name": "cät"}, {"id": 2, "name": "dog"}],
}
_VOC = (
    '<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE annotation><annotation xmlns:v="u"><filename>a.png</filename>'
    "<size><width>8</width><height>6</height><depth>3</depth></size><object><name>cät</name><difficult>1</difficult>"
    "<bndbox><xmin>1</xmin><ymin>1.5</ymin><xmax>5</xmax><ymax>4</ymax></bndbox><part><name>x</name></part></object>"
    "</annotation>"
)
# {source: (the file to break, what it holds)}.
BROKEN: dict[str, tuple[str, bytes]] = {
    "voc": ("a.xml", _VOC.encode()),
    "coco": ("x.json", json.dumps(_COCO, ensure_ascii=False).encode()),
    "yolo": ("a.txt", b"0 0.5 0.5 0.25 0.25\n1 0.1 0.1 0.5 0.1 0.5 0.5\n"),
    "yolo dataset descriptions": (
        "data.yaml",
        b"path: ../data\ntrain: t.txt\nval: [.]\nkpt_shape: [1, 2]\nnames: {0: cat, 1: 'dog'}\n",
    ),
    "csv": (
        "x.csv",
        b'filename,width,height,class,xmin,ymin,xmax,ymax\na.png,8,6,"cat",1,1,5,4.5\nb.png,8,6,dog,0,0,2,2\n',
    ),
    "cvat": (
        "x.xml",
        "<annotations><image name='a.png' width='8' height='6'><box label='cät' xtl='1' ytl='1' xbr='5' ybr='4.5' "
        "rotation='30'/><polygon label='b' points='1,1;2,2;3,1'/><ellipse label='c' cx='4' cy='3' rx='2' ry='1'/>"
        "</image><image name='b.png' subset='val'/></annotations>".encode(),
    ),
    "labelme": (
        "a.json",
        b'{"shapes": [{"label": "cat", "points": [[1, 1], [5, 4.5]], "shape_type": "rectangle"}, {"label": "dog", '
        b'"points": [[1, 1], [2, 2], [3, 1]], "group_id": 1}], "imagePath": "a.png", '
        b'"imageHeight": 6, "imageWidth": 8}',
    ),
    "via": (
        "x.json",
        b'{"a.png9": {"filename": "a.png", "size": 9, "regions": [{"shape_attributes": {"name": "polygon", '
        b'"all_points_x": [1, 2, 3], "all_points_y": [1, 2, 1]}, "region_attributes": {"class": "cat"}}, '
        b'{"shape_attributes": {"name": "ellipse", "cx": 4, "cy": 3, "rx": 2, "ry": 1, "theta": 0.5}, '
        b'"region_attributes": {"class": {"dog": true}}}]}}',
    ),
    "via table": (
        "x.csv",
        b"filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
        b'a.png,9,"{}",1,0,"{""name"":""rect"",""x"":1,""y"":1,""width"":4,""height"":3}","{""class"":""cat""}"\n',
    ),
    "createml": (
        "x.json",
        b'[{"image": "a.png", "annotations": [{"label": "cat", "coordinates": {"x": 3, "y": 3, "width": 4, '
        b'"height": 3.5}}]}, {"image": "b.png", "annotations": []}]',
    ),
    "voc sets": ("ImageSets/Main/train.txt", b"a\nb 1\n"),
    "yolo classes": ("classes.txt", "cät\ndog\n".encode()),
    "yolo sets": ("train.txt", b"./a.png\nb.png\n"),
    "masks": ("masks/a.png", array_png(np.eye(6, 8, dtype=np.uint8))),
}
BESIDE = {
    "voc sets": {"a.xml": _VOC.encode()},
    "yolo classes": {"a.txt": b"0 0.5 0.5 0.25 0.25\n"},
    "yolo sets": {"a.txt": b"0 0.5 0.5 0.25 0.25\n", "data.yaml": b"train: train.txt\nnames: [a, b]"},
    "yolo": {"data.yaml": b"names: [a, b]"},
    "yolo dataset descriptions": {"a.txt": b"0 0.5 0.5 0.25 0.25\n", "t.txt": b"b.png"},
}
ENCODED_IMAGE = array_png(np.full((6, 8), 99, np.uint8))
TOKENS = [
    b"NaN", b"-Infinity", b"1e999", b"-1", b"0", b"9" * 400, b"null", b"true", b'"', b"'", b"[", b"]", b"{", b"}", b",",
    b"\n", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"../../../../etc/passwd", b"/etc/passwd", b"[" * 2000, b'{"a":' * 2000,
    b"&a;", b'<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/hostname">]>', b"<annotation>", b"<!--", b"]]>", b"\\u0000",
    b"\\ud800", b"!!python/object/apply:os.system [id]", b"&x [*x, *x]", b"<<: *x", b"*x", b"\t", b";", b"images", b" ",
    b"&a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b]\n",
    b"\xed\xa0\x80", b"\x1b]0;x\x07", b"\xb0\xa1",
    b"&#x9b;", b"\xef\xbf\xbd", b"1e308", b"99999999", b"sep=;\n", b"\xe2\x80\xae", b"- " * 2000, b"<a>" * 2000,
    b"C:\\x", b"%2e%2e/",
]  # fmt: skip


@pytest.fixture(scope="module")
def watch() -> Iterator[Watch]:
    watch = Watch()
    yield watch
    watch.is_on = False


@st.composite
def broken(draw: st.DrawFn, whole: bytes) -> bytes:
    """Returns a text with a few bytes flipped, cut, repeated or replaced."""
    data = whole
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 12)))
        piece = draw(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=4), st.just(data[start:end] * 3)))
        tail = b"" if draw(st.integers(0, 9)) == 0 else data[end:]
        data = data[:start] + piece + tail
    return data


JSON_VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just(1e308), st.just(10**30)
    ),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "bbox", "size", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def replaced(draw: st.DrawFn) -> bytes:
    """Returns the COCO file with some of its values replaced by others, or taken away."""
    content = json.loads(json.dumps(_COCO))
    for _ in range(draw(st.integers(1, 3))):
        node: Any = content
        while True:
            keys = sorted(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(node[key], dict | list) and draw(st.integers(0, 5)):
                node = node[key]
                continue
            if draw(st.booleans()):
                node[key] = draw(JSON_VALUES)
            else:
                del node[key]
            break
    return json.dumps(content).encode()


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory, watch: Watch) -> Callable[[str, bytes], None]:
    """Reads a dataset of which one file is broken, as a conversion does."""
    root = tmp_path_factory.mktemp("mutations")
    numbers = itertools.count()

    def run(kind: str, data: bytes) -> None:
        # A folder for each, so that cached content of one file is not used for another.
        folder = root / str(next(numbers))
        source, (name, _) = kind.partition(" ")[0], BROKEN[kind]
        image_files = {"a.png": ENCODED_IMAGE, "b.png": ENCODED_IMAGE}
        for path, content in {**image_files, **BESIDE.get(kind, {}), name: data}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        watch.found.clear()
        start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        watch.is_on = True
        try:
            read_whole(folder, source)
        finally:
            watch.is_on = False
            shutil.rmtree(folder)
        assert not watch.found
        assert time.process_time() - start < MAX_SECONDS
        assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MAX_MEMORY_BYTES

    for kind, (_, whole) in BROKEN.items():
        run(kind, whole)  # What is imported on first use is imported now.
    return run


def read_whole(folder: Path, source: str) -> None:
    with contextlib.suppress(DatasetError):
        find_source(folder)
    try:
        listing = SOURCES[source].listing(folder)
    except DatasetError:
        return
    problems = [*listing.problems, *itertools.chain(*listing.set_problems.values())]
    for members in listing.sets.values():
        assert all(0 <= index < len(listing.entries) for index in members)
    for class_id, class_name in (listing.label_map or {}).items():
        assert class_id >= 1
        assert class_name.strip()
    for entry in listing.entries:
        image, found = SOURCES[source].read(folder, entry, masks=True)
        problems += found
        if image is None:
            assert found
            continue
        assert image.path is not None
        assert image.path.resolve().is_relative_to(folder.resolve())
        for thing in image.objects:
            assert all(map(math.isfinite, thing.box))
            assert thing.name.strip()
    assert {problem.code for problem in problems} <= CODES.keys()


def relaxed(max_examples: int) -> settings:
    return settings(max_examples=max_examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("kind", BROKEN)
@given(data=st.data())
@relaxed(NUM_QUICK)
def test_mutations_broken_bytes_end_in_words(check, kind: str, data: st.DataObject) -> None:
    check(kind, data.draw(broken(BROKEN[kind][1])))


@given(data=replaced())
@relaxed(NUM_QUICK)
def test_mutations_replaced_values_end_in_words(check, data: bytes) -> None:
    check("coco", data)


@pytest.mark.slow
@pytest.mark.parametrize("kind", BROKEN)
@given(data=st.data())
@relaxed(NUM_SLOW)
def test_mutations_thousands_of_broken_bytes_end_in_words(check, kind: str, data: st.DataObject) -> None:
    check(kind, data.draw(broken(BROKEN[kind][1])))


@pytest.mark.slow
@given(data=replaced())
@relaxed(NUM_SLOW)
def test_mutations_thousands_of_replaced_values_end_in_words(check, data: bytes) -> None:
    check("coco", data)

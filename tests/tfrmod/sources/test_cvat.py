"""Tests of CVAT for images 1.1, as written by CVAT."""

import pytest

from tfrmod.errors import DatasetError
from tfrmod.masks import png_array
from tfrmod.sources import find_source

META = "<version>1.1</version><meta><task><id>1</id><labels><label><name>cat</name></label></labels></task></meta>"


def cvat(shapes: str, *, attributes: str = 'name="a.jpg" width="64" height="48"', more: str = "") -> str:
    image = f'<image id="0" {attributes}>{shapes}</image>'
    return f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>{META}{image}{more}</annotations>'


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ('<box label="big  cat" occluded="0" xtl="10.00" ytl="5" xbr="30" ybr="25.5" z_order="0"/>', (5, 10, 25.5, 30)),
        ('<box label="big cat" xtl="10" ytl="10" xbr="30" ybr="20" rotation="90.00"/>', (5, 15, 25, 25)),
        ('<box label="big cat" xtl="10" ytl="10" xbr="30" ybr="20" rotation="360"/>', (10, 10, 20, 30)),
        ('<polygon label="big cat" points="10.0,5.0;30.0,5.0;20.0,25.5"/>', (5, 10, 25.5, 30)),
        ('<ellipse label="big cat" cx="20" cy="20" rx="10" ry="5"/>', (15, 10, 25, 30)),
        ('<ellipse label="big cat" cx="20" cy="20" rx="10" ry="5" rotation="90"/>', (10, 15, 30, 25)),
        ('<mask label="big cat" rle="0, 4" left="10" top="5" width="2" height="2" z_order="0"/>', (5, 10, 7, 12)),
    ],
)
def test_cvat_each_shape_gives_its_bounding_box(put, read_all, names_and_boxes, shape: str, box) -> None:
    child = shape.replace("/>", '><attribute name="age">3</attribute></' + shape.split(maxsplit=1)[0][1:] + ">")
    folder = put({"images/a.jpg": None, "annotations.xml": cvat(shape + child)})
    assert find_source(folder) == "cvat"
    _, images, problems = read_all("cvat", folder)
    [first, second] = names_and_boxes(images["images/a.jpg"])
    assert first == second == ("big cat", pytest.approx(box))
    assert (images["images/a.jpg"].width, problems) == (64, [])


@pytest.mark.parametrize("tag", ["polyline", "points", "cuboid", "skeleton", "tag"])
def test_cvat_what_is_no_box_is_named_and_an_image_of_nothing_else_is_left_out(put, read_all, tag: str) -> None:
    other = cvat("", more=f'<image name="b.jpg"><{tag} label="x" points="1,2;3,4"/></image>').replace('id="0"', "")
    shapes = f'<box label="cat" xtl="1" ytl="2" xbr="30" ybr="40"/><{tag} label="x" points="1,2;3,4"/>'
    _, images, problems = read_all("cvat", put({"a.jpg": None, "x.xml": cvat(shapes)}))
    assert len(images["a.jpg"].objects) == 1
    assert [problem.code for problem in problems] == ["object_unreadable"]
    assert problems[0].message.startswith("x: a" if tag != "points" else "x: points")
    _, images, problems = read_all("cvat", put({"b.jpg": None, "x.xml": other}))
    assert [problem.code for problem in problems] == ["image_unlabelled", "object_unreadable"]


def test_cvat_subsets_are_sets(put, read_all) -> None:
    names = {"Train": "images/Train/0.jpg", "Validation": "images/Validation/0.jpg"}
    box = '<box label="cat" xtl="1" ytl="2" xbr="30" ybr="40"/>'
    more = "".join(f'<image id="{name}" name="0.jpg" subset="{name}">{box}</image>' for name in names)
    files = {**dict.fromkeys(names.values()), "a.jpg": None, "annotations.xml": cvat(box, more=more)}
    listing, images, problems = read_all("cvat", put(files))
    assert sorted(images) == ["a.jpg", *names.values()]
    assert listing.sets == {"train": (1,), "val": (2,)}
    assert problems == []


def test_cvat_tracks_are_refused_with_what_to_export(put, read_all) -> None:
    track = '<track id="0" label="cat"><box frame="0" xtl="1" ytl="2" xbr="3" ybr="4"/></track>'
    folder = put({"a.jpg": None, "x.xml": f"<annotations>{META}{track}</annotations>"})
    with pytest.raises(
        DatasetError, match=r"x\.xml is CVAT for video .* Export the task from CVAT as 'CVAT for images"
    ):
        find_source(folder)
    for content in (f"<annotations>{META}{track}</annotations>", cvat("", more=track)):
        (folder / "x.xml").write_text(content)
        with pytest.raises(DatasetError, match="CVAT for video"):
            read_all("cvat", folder)


def test_cvat_many_files_are_all_read(put, read_all) -> None:
    box = '<box label="cat" xtl="1" ytl="2" xbr="30" ybr="40"/>'
    numbers = range(30)
    jobs = {f"job{n}.xml": cvat(box, attributes=f'name="{n}.jpg" width="64" height="48"') for n in numbers}
    _, images, problems = read_all("cvat", put({f"{n}.jpg": None for n in numbers} | jobs))
    assert (len(images), problems) == (30, [])


def test_cvat_polygons_are_masks_at_the_size_of_the_image(put, read_all) -> None:
    shapes = '<polygon label="cat" points="10,5;30,5;30,25;10,25"/><box label="cat" xtl="1" ytl="2" xbr="3" ybr="4"/>'
    content = cvat(shapes, attributes='name="a.jpg" width="13377" height="13377"')
    _, images, problems = read_all("cvat", put({"a.jpg": None, "x.xml": content}), masks=True)
    first, second = images["a.jpg"].objects
    assert (png_array(first.mask).shape, int(png_array(first.mask).sum()), second.mask) == ((48, 64), 400, b"")
    assert problems == []


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ('<box label="cat" xtl="1" ytl="2" xbr="x" ybr="4"/>', "not a number: x"),
        ('<box label="cat" xtl="1" ytl="2" ybr="4"/>', "not a number: None"),
        ('<box label="cat" xtl="nan" ytl="2" xbr="3" ybr="4"/>', "not a number: nan"),
        ('<box xtl="1" ytl="2" xbr="3" ybr="4"/>', "without a label"),
        ('<box label="" xtl="1" ytl="2" xbr="3" ybr="4"/>', "empty name"),
        ('<polygon label="cat" points="1,2;3,4"/>', "at least three"),
        ('<polygon label="cat" points=""/>', "not a number"),
        ("<blob/>", "is unknown"),
    ],
)
def test_cvat_unreadable_shape_is_dropped_and_named(put, read_all, shape: str, words: str) -> None:
    good = '<box label="cat" xtl="1" ytl="2" xbr="30" ybr="40"/>'
    _, images, problems = read_all("cvat", put({"a.jpg": None, "x.xml": cvat(good + shape)}))
    assert (len(images["a.jpg"].objects), [problem.code for problem in problems]) == (1, ["object_unreadable"])
    assert words in problems[0].message


def test_cvat_damaged_file_is_named(put, read_all) -> None:
    folder = put({"a.jpg": None, "x.xml": cvat("")[:-5]})
    with pytest.raises(DatasetError, match=r"For example x\.xml: not well-formed XML"):
        read_all("cvat", folder)
    (folder / "x.xml").unlink()
    with pytest.raises(DatasetError, match="found none among 0 XML files"):
        read_all("cvat", folder)

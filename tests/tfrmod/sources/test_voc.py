from pathlib import Path

import pytest

from tfrmod.errors import DatasetError
from tfrmod.sources import find_source, voc
from tfrmod.sources.source import Entry, Reading

BODY = "<annotation><size><width>64</width><height>48</height></size>{}</annotation>"
CAT = "<object><name>cat</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></object>"


def read(folder: Path, content: str | bytes) -> Reading:
    (folder / "a.xml").write_bytes(content.encode() if isinstance(content, str) else content)
    return voc.read(folder, Entry("a.jpg", "a.xml"))


@pytest.mark.parametrize(
    "content",
    [
        BODY.format(CAT),
        "\ufeff" + BODY.format(CAT),
        '\n  <?xml version="1.0"?>\n' + BODY.format(CAT),
        BODY.format(CAT).replace("<annotation>", '<annotation xmlns="http://host.invalid/voc" verified="yes">'),
        BODY.format(CAT)
        .replace("<", "<v:")
        .replace("<v:/", "</v:")
        .replace("<v:annotation>", '<v:annotation xmlns:v="u">'),
        BODY.format(CAT).replace("xmin", "XMIN").replace("name>", "Name>"),
        BODY.format(CAT.replace("<name>", "<!-- a comment --><part><name>head</name><bndbox/></part><name>")),
        BODY.format(CAT.replace("cat", "\n  cat ")),
        ("<?xml version='1.0' encoding='UTF-16'?>" + BODY.format(CAT)).encode("utf-16"),
    ],
)
def test_however_it_is_written_it_says_the_same(tmp_path: Path, content: str | bytes) -> None:
    image, problems = read(tmp_path, content)
    assert problems == ()
    assert image is not None
    assert [(thing.name, thing.box) for thing in image.objects] == [("cat", (2, 1, 4, 3))]


def test_extras_are_taken_where_they_are(tmp_path: Path) -> None:
    extras = "<pose>Left</pose><difficult>1</difficult><truncated>0</truncated><bndbox>"
    image, _ = read(tmp_path, BODY.format(CAT.replace("<bndbox>", extras)))
    assert image is not None
    assert (image.objects[0].view, image.objects[0].difficult, image.objects[0].truncated) == ("Left", True, False)


def test_decimals_are_kept_and_swapped_corners_not_yet_judged(tmp_path: Path) -> None:
    image, _ = read(
        tmp_path, BODY.format(CAT.replace("<xmin>1<", "<xmin>556.6500192086055<").replace("<ymin>2<", "<ymin>0<"))
    )
    assert image is not None
    assert image.objects[0].box == (0, 556.6500192086055, 4, 3)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("", (0, 0)),
        ("<size/>", (0, 0)),
        ("<size><width>x</width><height>-5</height></size>", (0, 0)),
        ("<size><width>64.0</width><height>48</height></size>", (48, 64)),
    ],
)
def test_a_silent_or_silly_size_is_zero(tmp_path: Path, size: str, expected: tuple[int, int]) -> None:
    image, _ = read(tmp_path, f"<annotation>{size}</annotation>")
    assert image is not None
    assert (image.height, image.width) == expected
    assert image.objects == ()


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (CAT.replace("<name>cat</name>", ""), "without a name"),
        (CAT.replace("cat", " "), "without a name"),
        (CAT.replace("bndbox", "polygon"), "cat: no bndbox"),
        (CAT.replace("<ymin>2</ymin>", ""), "missing or not a number"),
        (CAT.replace("<ymin>2<", "<ymin>two<"), "missing or not a number"),
        (CAT.replace("<ymin>2<", "<ymin>nan<"), "not finite"),
        (CAT.replace("<ymin>2<", "<ymin>1e999<"), "not finite"),
    ],
)
def test_an_unreadable_object_is_dropped_and_the_others_stay(tmp_path: Path, thing: str, words: str) -> None:
    image, problems = read(tmp_path, BODY.format(thing + CAT))
    assert image is not None
    assert len(image.objects) == 1
    assert [problem.code for problem in problems] == ["object_unreadable"]
    assert words in problems[0].message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "empty"),
        ("<annotation><object>", "not well-formed"),
        ("just text", "not well-formed"),
        ("\x00\x01", "not well-formed"),
        ("<html/>", "outermost tag is <html>"),
        ('<!DOCTYPE annotation [<!ENTITY a "b">]><annotation>&a;</annotation>', "declares entities"),
        (
            '<!DOCTYPE annotation [<!ENTITY a SYSTEM "file:///etc/hostname">]><annotation>&a;</annotation>',
            "declares entities",
        ),
        ("<annotation>" * 5000 + "</annotation>" * 5000, "not well-formed"),
    ],
)
def test_a_malformed_annotation_is_named(tmp_path: Path, content: str, words: str) -> None:
    image, problems = read(tmp_path, content)
    assert image is None
    assert (problems[0].code, problems[0].file) == ("annotation_malformed", "a.xml")
    assert words in problems[0].message


def test_an_entity_bomb_goes_off_nowhere(tmp_path: Path) -> None:
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    image, problems = read(
        tmp_path, f'<!DOCTYPE a [<!ENTITY e0 "ha">{levels}]><annotation x="&e11;">&e11;</annotation>'
    )
    assert image is None
    assert problems[0].code == "annotation_malformed"


def test_windows_letters_without_a_declaration_are_understood(tmp_path: Path) -> None:
    image, problems = read(tmp_path, BODY.format(CAT.replace("cat", "araña")).encode("cp1252"))
    assert image is not None
    assert image.objects[0].name == "araña"
    assert [problem.code for problem in problems] == ["encoding_guessed"]


def test_a_missing_annotation_is_malformed_not_a_crash(tmp_path: Path) -> None:
    assert voc.read(tmp_path, Entry("a.jpg", "gone.xml")).image is None


@pytest.mark.parametrize(
    ("images", "annotations"),
    [
        ("VOCdevkit/VOC2007/JPEGImages", "VOCdevkit/VOC2007/Annotations"),
        ("JPEGImages", "Annotations"),
        ("IMAGENES", "LABELS"),
        (".", "."),
        ("a/b/c", "a/b/c"),
        ("x/photos", "y/z/labels"),
    ],
)
def test_any_layout_is_found(tmp_path: Path, voc_in, images: str, annotations: str) -> None:
    data = voc_in(tmp_path / "data", images, annotations).add_many(3)
    assert find_source(data.root) == "voc"
    listing = voc.listing(data.root)
    assert [Path(entry.image).stem for entry in listing.entries] == ["0000", "0001", "0002"]
    assert all(Path(entry.annotation).stem == Path(entry.image).stem for entry in listing.entries)
    assert listing.problems == ()


def test_upper_case_extensions_and_odd_names_are_found(voc_folder, xml, photo) -> None:
    for stem in ("A.mp4#t=1", "b c=d"):
        voc_folder.write(f"JPEGImages/{stem}.JPG", photo())
        voc_folder.write(f"Annotations/{stem}.XML", xml())
    assert len(voc.listing(voc_folder.root).entries) == 2


def test_masks_and_rubbish_are_no_photos(voc_folder, photo) -> None:
    voc_folder.add_many(2)
    voc_folder.write("SegmentationClass/0000.png", photo("PNG"))
    voc_folder.write("__MACOSX/JPEGImages/._0000.jpg", b"x")
    voc_folder.write("JPEGImages/._0001.jpg", b"x")
    voc_folder.write("JPEGImages/Thumbs.db", b"x")
    listing = voc.listing(voc_folder.root)
    assert len(listing.entries) == 2
    assert listing.problems == ()


def test_a_folder_without_photos_or_annotations_is_refused(voc_folder, xml, photo) -> None:
    voc_folder.write("a.xml", xml())
    with pytest.raises(DatasetError, match="found no photos among 1 files"):
        voc.listing(voc_folder.root)
    (voc_folder.root / "a.xml").unlink()
    voc_folder.write("a.jpg", photo())
    with pytest.raises(DatasetError, match=r"No annotations were found .* holds 1 x \.jpg"):
        find_source(voc_folder.root)
    with pytest.raises(DatasetError, match=r"found no annotations"):
        voc.listing(voc_folder.root)


def test_strangers_to_each_other_are_refused(voc_folder, xml, photo) -> None:
    voc_folder.write("b/a.xml", xml(filename="x.jpg"))
    voc_folder.write("c/b.jpg", photo())
    with pytest.raises(DatasetError, match="None of the 1 XML files"):
        voc.listing(voc_folder.root)


def test_a_missing_folder_and_an_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="not there") as caught:
        find_source(tmp_path / "gone")
    assert caught.value.missing
    with pytest.raises(ValueError, match="Known: voc"):
        find_source(tmp_path, "coco9")
    assert find_source(tmp_path, "voc") == "voc"

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
def test_voc_however_it_is_written_it_says_the_same(tmp_path: Path, content: str | bytes) -> None:
    image, problems = read(tmp_path, content)
    assert problems == ()
    assert image is not None
    assert [(thing.name, thing.box) for thing in image.objects] == [("cat", (2, 1, 4, 3))]


def test_voc_extras_are_taken_where_they_are(tmp_path: Path) -> None:
    extras = "<pose>Left</pose><difficult>1</difficult><truncated>0</truncated><bndbox>"
    image, _ = read(tmp_path, BODY.format(CAT.replace("<bndbox>", extras)))
    assert image is not None
    assert (image.objects[0].view, image.objects[0].difficult, image.objects[0].truncated) == ("Left", True, False)


def test_voc_decimals_are_kept_and_swapped_corners_not_yet_judged(tmp_path: Path) -> None:
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
def test_voc_missing_or_invalid_size_is_zero(tmp_path: Path, size: str, expected: tuple[int, int]) -> None:
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
def test_voc_unreadable_object_is_dropped_and_the_others_stay(tmp_path: Path, thing: str, words: str) -> None:
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
def test_voc_malformed_annotation_is_named(tmp_path: Path, content: str, words: str) -> None:
    image, problems = read(tmp_path, content)
    assert image is None
    assert (problems[0].code, problems[0].file) == ("annotation_malformed", "a.xml")
    assert words in problems[0].message


def test_voc_entities_are_rejected(tmp_path: Path) -> None:
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    image, problems = read(
        tmp_path, f'<!DOCTYPE a [<!ENTITY e0 "ha">{levels}]><annotation x="&e11;">&e11;</annotation>'
    )
    assert image is None
    assert problems[0].code == "annotation_malformed"


def test_voc_windows_letters_without_a_declaration_are_understood(tmp_path: Path) -> None:
    image, problems = read(tmp_path, BODY.format(CAT.replace("cat", "araña")).encode("cp1252"))
    assert image is not None
    assert image.objects[0].name == "araña"
    assert [problem.code for problem in problems] == ["encoding_guessed"]


@pytest.mark.parametrize(
    ("declared", "encoding", "name", "is_guessed"),
    [
        ("utf-8", "utf-8", "汽车", False),
        ("gbk", "gbk", "汽车", False),
        ("gb2312", "gbk", "汽車", False),  # Characters beyond the declared ones.
        ("Shift_JIS", "cp932", "自動車", False),
        ("windows-1251", "cp1251", "машина", False),
        ("iso-8859-1", "latin-1", "größe", False),
        ("iso-8859-1", "utf-8", "größe", True),
        ("windows-1252", "utf-8", "汽车", True),
        ("gbk", "utf-8", "汽车", True),
        ("utf-16", "utf-8", "汽车", False),  # Written by Windows programs that write UTF-8.
        ("utf-8", "cp1252", "größe", True),
        ("ascii", "utf-8", "汽车", True),
        ("klingon", "utf-8", "汽车", False),
        ("utf-8", "utf-16", "汽车", False),
        ("utf-8", "utf-8-sig", "汽车", False),
    ],
)
def test_voc_reads_what_the_bytes_are(
    tmp_path: Path, declared: str, encoding: str, name: str, is_guessed: bool
) -> None:
    text = f'<?xml version="1.0" encoding="{declared}"?>' + BODY.format(CAT.replace("cat", name))
    image, problems = read(tmp_path, text.encode(encoding))
    assert image is not None
    assert image.objects[0].name == name
    assert [problem.code for problem in problems] == ["encoding_guessed"] * is_guessed


@pytest.mark.parametrize(
    ("declaration", "encoding", "name"),
    [
        ("", "gbk", "汽车"),
        ("", "cp1251", "машина"),
        ("", "cp932", "自動車"),
        ('<?xml version="1.0" encoding="utf-8"?>', "gbk", "汽车"),
        ('<?xml version="1.0" encoding="gbk"?>', "utf-8", "ñandú ü"),
        ('<?xml version="1.0" encoding="ascii"?>', "gbk", "汽车"),
        ("", "utf-8", "car\ufffd"),
        ("", "utf-8", "car\u202e"),
    ],
)
def test_voc_refuses_a_name_that_it_would_have_to_guess(
    tmp_path: Path, declaration: str, encoding: str, name: str
) -> None:
    image, problems = read(tmp_path, (declaration + BODY.format(CAT.replace("cat", name))).encode(encoding))
    assert image is None or image.objects == ()
    assert problems[0].code in ("annotation_malformed", "object_unreadable")


@pytest.mark.parametrize("blank", ["\ufeff\n", "\ufeff\n\r\n  ", "\n\ufeff", ""])
def test_voc_reads_over_blanks_before_the_declaration(tmp_path: Path, blank: str) -> None:
    image, problems = read(tmp_path, blank + '<?xml version="1.0"?>\n' + BODY.format(CAT))
    assert image is not None
    assert problems == ()


def numbers(*box: float) -> str:
    names = ("xmin", "ymin", "xmax", "ymax")
    sides = "".join(f"<{name}>{side}</{name}>" for name, side in zip(names, box, strict=True))
    return f"<object><name>cat</name><bndbox>{sides}</bndbox></object>"


@pytest.mark.parametrize("size", ["<width>64</width><height>48</height>", "<width>640</width><height>480</height>", ""])
def test_voc_reads_fractions_as_parts_of_the_image(tmp_path: Path, encode_image, size: str) -> None:
    (tmp_path / "a.jpg").write_bytes(encode_image())
    boxes = numbers(0.25, 0.5, 0.75, 1.0) + numbers(0, 0, 1, 1)
    image, problems = read(tmp_path, f"<annotation><size>{size}</size>{boxes}</annotation>")
    assert image is not None
    assert [thing.box for thing in image.objects] == [(24, 16, 48, 48), (0, 0, 48, 64)]
    assert (image.height, image.width) == (48, 64)
    assert [problem.code for problem in problems] == ["coordinates_normalised"]


@pytest.mark.parametrize("boxes", [numbers(0, 0, 1, 1), numbers(0.1, 0.2, 0.3, 0.4) + numbers(10, 20, 30, 40)])
def test_voc_leaves_out_what_may_be_pixels_or_fractions(tmp_path: Path, boxes: str) -> None:
    image, problems = read(tmp_path, BODY.format(boxes))
    assert image is None
    assert [problem.code for problem in problems] == ["coordinates_unclear"]


@pytest.mark.parametrize(
    "boxes", [numbers(0, 0, 2, 2), numbers(0, 0, 0, 0), numbers(0, 0, 1, 1) + numbers(9, 9, 20, 20)]
)
def test_voc_takes_small_pixels_for_pixels(tmp_path: Path, boxes: str) -> None:
    image, problems = read(tmp_path, BODY.format(boxes))
    assert image is not None
    assert problems == ()


def test_voc_leaves_out_an_image_of_rotated_boxes(tmp_path: Path) -> None:
    turned = (
        "<object><name>dog</name><robndbox><cx>1</cx><cy>1</cy><w>2</w><h>2</h><angle>1</angle></robndbox></object>"
    )
    image, problems = read(tmp_path, BODY.format(CAT + turned))
    assert image is None
    assert problems[0].code == "annotation_malformed"
    assert "dog is marked by <robndbox>, a rotated box" in problems[0].message


@pytest.mark.parametrize(
    ("tag", "is_said"),
    [("a.jpg", 0), ("a", 0), ("A.JPG", 0), ("a.png", 1), ("b.jpg", 1), ("x/a.jpg", 0), ("x\\a.jpg", 0), ("", 0)],
)
def test_voc_says_which_filename_tags_differ(tmp_path: Path, tag: str, is_said: int) -> None:
    _, problems = read(tmp_path, BODY.format(f"<filename>{tag}</filename>" + CAT))
    assert [problem.code for problem in problems] == ["filename_differs"] * is_said


def test_voc_missing_annotation_is_malformed_not_a_crash(tmp_path: Path) -> None:
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
def test_voc_any_layout_is_found(tmp_path: Path, voc_in, images: str, annotations: str) -> None:
    data = voc_in(tmp_path / "data", images, annotations).add_many(3)
    assert find_source(data.root) == "voc"
    listing = voc.listing(data.root)
    assert [Path(entry.image).stem for entry in listing.entries] == ["0000", "0001", "0002"]
    assert all(Path(entry.annotation).stem == Path(entry.image).stem for entry in listing.entries)
    assert listing.problems == ()


def test_voc_upper_case_extensions_and_odd_names_are_found(voc_folder, xml, encode_image) -> None:
    for stem in ("A.mp4#t=1", "b c=d"):
        voc_folder.write(f"JPEGImages/{stem}.JPG", encode_image())
        voc_folder.write(f"Annotations/{stem}.XML", xml())
    assert len(voc.listing(voc_folder.root).entries) == 2


def test_voc_masks_and_other_files_are_no_images(voc_folder, encode_image) -> None:
    voc_folder.add_many(2)
    voc_folder.write("SegmentationClass/0000.png", encode_image("PNG"))
    voc_folder.write("__MACOSX/JPEGImages/._0000.jpg", b"x")
    voc_folder.write("JPEGImages/._0001.jpg", b"x")
    voc_folder.write("JPEGImages/Thumbs.db", b"x")
    listing = voc.listing(voc_folder.root)
    assert len(listing.entries) == 2
    assert listing.problems == ()


def test_voc_folder_without_images_or_annotations_is_refused(voc_folder, xml, encode_image) -> None:
    voc_folder.write("a.xml", xml())
    with pytest.raises(DatasetError, match="found no images among 1 file"):
        voc.listing(voc_folder.root)
    (voc_folder.root / "a.xml").unlink()
    voc_folder.write("a.jpg", encode_image())
    with pytest.raises(DatasetError, match=r"No annotations were found .* holds 1 x \.jpg"):
        find_source(voc_folder.root)
    with pytest.raises(DatasetError, match=r"found no annotations"):
        voc.listing(voc_folder.root)


def test_voc_unmatched_files_are_rejected(voc_folder, xml, encode_image) -> None:
    voc_folder.write("b/a.xml", xml(filename="x.jpg"))
    voc_folder.write("c/b.jpg", encode_image())
    with pytest.raises(DatasetError, match="Of 1 XML file and"):
        voc.listing(voc_folder.root)


def test_voc_missing_folder_and_an_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist") as caught:
        find_source(tmp_path / "gone")
    assert caught.value.missing
    with pytest.raises(ValueError, match="Known: voc"):
        find_source(tmp_path, "coco9")
    assert find_source(tmp_path, "voc") == "voc"

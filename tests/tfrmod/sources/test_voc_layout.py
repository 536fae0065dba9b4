import pytest

from tfrmod.sources.voc_layout import pair
from tfrmod.sources.voc_xml import Stated


def paired(images: str, annotations: str, stated: dict[str, str | Stated] | None = None, others: str = "", copies=()):
    """Returns what `pair` does, of names that blanks divide; a tag is a filename or all three."""

    def tag(name: str) -> Stated:
        given = (stated or {}).get(name, "")
        return Stated(given) if isinstance(given, str) else given

    pairs, problems = pair(
        images.split(), annotations.split(), others.split(), tag, lambda *both: set(both) == set(copies)
    )
    return pairs, {(problem.code, problem.file) for problem in problems}


def test_pair_stems_decide_where_the_filename_tag_is_stale() -> None:
    pairs, problems = paired("i/1.jpg i/2.jpg", "a/1.xml a/2.xml", {"a/1.xml": "x.jpg", "a/2.xml": "y.jpg"})
    assert pairs == {"i/1.jpg": "a/1.xml", "i/2.jpg": "a/2.xml"}
    assert problems == set()


def test_pair_leaves_out_where_the_filename_tag_names_another_image() -> None:
    pairs, problems = paired(
        "i/1.jpg i/2.jpg i/3.jpg", "a/1.xml a/2.xml a/3.xml", {"a/1.xml": "2.jpg", "a/2.xml": "2.jpg"}
    )
    assert pairs == {"i/2.jpg": "a/2.xml", "i/3.jpg": "a/3.xml"}
    assert problems == {("image_ambiguous", "a/1.xml"), ("image_without_annotation", "i/1.jpg")}


TAGS = {
    "filename": Stated("cam2/0.jpg"),
    "windows filename": Stated("cam2\\0.jpg"),
    "folder": Stated("0.jpg", "cam2"),
    "folder above": Stated("0.jpg", "two"),
    "folder in other letters": Stated("0.JPG", "CAM2"),
    "path": Stated("0.jpg", "", "C:\\Users\\me\\cam2\\0.jpg"),
    "url": Stated("0.jpg", "", "file:///home/me/cam2/0.jpg"),
    "path alone": Stated("", "", "/home/me/cam2/0.jpg"),
    "without extension": Stated("0", "cam2"),
}


@pytest.mark.parametrize("tag", TAGS.values(), ids=TAGS)
def test_pair_believes_the_folders_of_tags_before_nearness(tag: Stated) -> None:
    pairs, _ = paired("set/cam1/0.jpg set/two/cam2/0.jpg", "set/cam1/xml/0.xml", {"set/cam1/xml/0.xml": tag})
    assert pairs == {"set/two/cam2/0.jpg": "set/cam1/xml/0.xml"}


def test_pair_does_not_take_a_trimap_of_the_same_name() -> None:
    images = "images/a.jpg ann/trimaps/a.png"
    assert paired(images, "ann/xmls/a.xml", {"ann/xmls/a.xml": "a.jpg"})[0] == {"images/a.jpg": "ann/xmls/a.xml"}
    assert paired(images, "ann/trimaps/a.xml", {"ann/trimaps/a.xml": Stated("a.jpg", "images")})[0] == {
        "images/a.jpg": "ann/trimaps/a.xml"
    }


def test_pair_equal_trailing_folders_decide_before_nearness() -> None:
    images = "JPEGImages/cam1/0.jpg JPEGImages/cam2/0.jpg Annotations/0.jpg"
    pairs, _ = paired(images, "Annotations/cam1/0.xml Annotations/cam2/0.xml")
    assert pairs == {
        "JPEGImages/cam1/0.jpg": "Annotations/cam1/0.xml",
        "JPEGImages/cam2/0.jpg": "Annotations/cam2/0.xml",
    }


@pytest.mark.parametrize("tag", ["", "0.jpg", Stated("0.jpg", "elsewhere"), Stated("0.jpg", "", "D:/x/0.jpg")])
def test_pair_leaves_out_what_several_equally_near_images_fit(tag) -> None:
    pairs, problems = paired("drawn/0.jpg raw/0.jpg", "ann/0.xml", {"ann/0.xml": tag})
    assert pairs == {}
    assert ("image_ambiguous", "ann/0.xml") in problems


def test_pair_jpegimages_is_where_voc_has_its_images() -> None:
    pairs, _ = paired("d/JPEGImages/0.jpg d/drawn/0.jpg", "d/Annotations/0.xml")
    assert pairs == {"d/JPEGImages/0.jpg": "d/Annotations/0.xml"}


def test_pair_does_not_take_another_cameras_image_where_the_own_is_missing() -> None:
    stated = {"A/cam1/2.xml": "cam1/2.jpg"}
    images = "I/cam1/0.jpg I/cam1/1.jpg I/cam2/0.jpg I/cam2/1.jpg I/cam2/2.jpg"
    annotations = "A/cam1/0.xml A/cam1/1.xml A/cam1/2.xml A/cam2/0.xml A/cam2/1.xml"
    for tags in (stated, {}):
        pairs, problems = paired(images, annotations, tags)
        assert len(pairs) == 4
        assert problems == {("annotation_without_image", "A/cam1/2.xml"), ("image_without_annotation", "I/cam2/2.jpg")}


def test_pair_exact_names_come_before_other_capitals() -> None:
    pairs, problems = paired("i/IMG_0.jpg i/img_0.jpg", "a/IMG_0.xml a/img_0.xml")
    assert (pairs, problems) == ({"i/IMG_0.jpg": "a/IMG_0.xml", "i/img_0.jpg": "a/img_0.xml"}, set())
    pairs, _ = paired("i/img_0.jpg", "a/IMG_0.xml a/img_0.xml")
    assert pairs == {"i/img_0.jpg": "a/img_0.xml"}


def test_pair_two_annotations_that_fit_equally_well_are_left_out_unless_they_are_copies() -> None:
    pairs, problems = paired("i/1.jpg", "a/1.xml b/1.xml")
    assert pairs == {}
    assert problems == {
        ("annotations_disagree", "a/1.xml"),
        ("annotations_disagree", "b/1.xml"),
        ("image_without_annotation", "i/1.jpg"),
    }
    pairs, _ = paired("i/1.jpg", "a/1.xml b/1.xml", copies=("a/1.xml", "b/1.xml"))
    assert pairs == {"i/1.jpg": "a/1.xml"}


def test_voc_layout_nearest_of_one_stem_belong_together() -> None:
    pairs, problems = paired("07/I/1.jpg 12/I/1.jpg", "07/A/1.xml 12/A/1.xml")
    assert pairs == {"07/I/1.jpg": "07/A/1.xml", "12/I/1.jpg": "12/A/1.xml"}
    assert problems == set()


def test_voc_layout_annotation_does_not_take_another_years_image() -> None:
    pairs, problems = paired("12/I/1.jpg", "07/A/1.xml 12/A/1.xml")
    assert pairs == {"12/I/1.jpg": "12/A/1.xml"}
    assert problems == {("annotation_without_image", "07/A/1.xml")}


def test_voc_layout_of_two_images_with_one_stem_the_tag_decides() -> None:
    pairs, problems = paired("i/1.png i/1.tif", "a/1.xml", {"a/1.xml": "1.tif"})
    assert pairs == {"i/1.tif": "a/1.xml"}
    assert problems == {("image_without_annotation", "i/1.png")}


def test_pair_where_nothing_decides_the_image_is_left_out() -> None:
    pairs, problems = paired("i/1.png i/1.tif", "a/1.xml")
    assert pairs == {}
    assert ("image_ambiguous", "a/1.xml") in problems


def test_voc_layout_tag_helps_where_no_stem_fits() -> None:
    pairs, problems = paired(
        "i/photo.jpg i/x.jpg", "a/1.xml a/x.jpg.xml", {"a/1.xml": "PHOTO.JPG", "a/x.jpg.xml": "x.jpg"}
    )
    assert pairs == {"i/photo.jpg": "a/1.xml", "i/x.jpg": "a/x.jpg.xml"}
    assert problems == set()


def test_voc_layout_file_without_a_images_extension_is_one_if_an_annotation_says_so() -> None:
    pairs, _ = paired("i/2.jpg", "a/1.xml a/2.xml a/3.xml", {"a/3.xml": "third"}, others="i/1.img i/third README")
    assert pairs == {"i/1.img": "a/1.xml", "i/2.jpg": "a/2.xml", "i/third": "a/3.xml"}


def test_voc_layout_second_annotation_of_one_image_is_reported() -> None:
    pairs, problems = paired("d/1.jpg", "d/1.xml d/copy.xml", {"d/copy.xml": "1.jpg"})
    assert pairs == {"d/1.jpg": "d/1.xml"}
    assert problems == {("annotation_twice", "d/copy.xml")}


def test_voc_layout_what_is_left_over_is_reported() -> None:
    _, problems = paired("i/1.jpg i/2.jpg", "a/1.xml a/3.xml")
    assert problems == {("image_without_annotation", "i/2.jpg"), ("annotation_without_image", "a/3.xml")}

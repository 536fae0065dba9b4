from tfrmod.sources.voc_pairs import pair


def paired(photos: str, annotations: str, stated: dict[str, str] | None = None, others: str = ""):
    pairs, problems = pair(
        photos.split(), annotations.split(), others.split(), lambda name: (stated or {}).get(name, "")
    )
    return pairs, {(problem.code, problem.file) for problem in problems}


def test_stems_decide_and_not_the_filename_tag() -> None:
    pairs, problems = paired("i/1.jpg i/2.jpg", "a/1.xml a/2.xml", {"a/1.xml": "2.jpg", "a/2.xml": "1.jpg"})
    assert pairs == {"i/1.jpg": "a/1.xml", "i/2.jpg": "a/2.xml"}
    assert problems == set()


def test_the_nearest_of_one_stem_belong_together() -> None:
    pairs, problems = paired("07/I/1.jpg 12/I/1.jpg", "07/A/1.xml 12/A/1.xml")
    assert pairs == {"07/I/1.jpg": "07/A/1.xml", "12/I/1.jpg": "12/A/1.xml"}
    assert problems == set()


def test_an_annotation_does_not_take_another_years_photo() -> None:
    pairs, problems = paired("12/I/1.jpg", "07/A/1.xml 12/A/1.xml")
    assert pairs == {"12/I/1.jpg": "12/A/1.xml"}
    assert problems == {("annotation_without_image", "07/A/1.xml")}


def test_of_two_photos_with_one_stem_the_tag_decides() -> None:
    pairs, problems = paired("i/1.png i/1.tif", "a/1.xml", {"a/1.xml": "1.tif"})
    assert pairs == {"i/1.tif": "a/1.xml"}
    assert problems == {("image_without_annotation", "i/1.png")}


def test_where_nothing_decides_the_doubt_is_reported() -> None:
    pairs, problems = paired("i/1.png i/1.tif", "a/1.xml")
    assert pairs == {"i/1.png": "a/1.xml"}
    assert ("image_ambiguous", "a/1.xml") in problems


def test_the_tag_helps_where_no_stem_fits() -> None:
    pairs, problems = paired(
        "i/photo.jpg i/x.jpg", "a/1.xml a/x.jpg.xml", {"a/1.xml": "PHOTO.JPG", "a/x.jpg.xml": "x.jpg"}
    )
    assert pairs == {"i/photo.jpg": "a/1.xml", "i/x.jpg": "a/x.jpg.xml"}
    assert problems == set()


def test_a_file_without_a_photos_extension_is_one_if_an_annotation_says_so() -> None:
    pairs, _ = paired("i/2.jpg", "a/1.xml a/2.xml a/3.xml", {"a/3.xml": "third"}, others="i/1.img i/third README")
    assert pairs == {"i/1.img": "a/1.xml", "i/2.jpg": "a/2.xml", "i/third": "a/3.xml"}


def test_a_second_annotation_of_one_photo_is_reported() -> None:
    pairs, problems = paired("d/1.jpg", "d/1.xml d/copy.xml", {"d/copy.xml": "1.jpg"})
    assert pairs == {"d/1.jpg": "d/1.xml"}
    assert problems == {("annotation_twice", "d/copy.xml")}


def test_what_is_left_over_is_reported() -> None:
    _, problems = paired("i/1.jpg i/2.jpg", "a/1.xml a/3.xml")
    assert problems == {("image_without_annotation", "i/2.jpg"), ("annotation_without_image", "a/3.xml")}

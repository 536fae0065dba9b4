import pytest

from tfrmod.errors import DatasetError
from tfrmod.sources import find_source

HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
BOX = ("big cat", (5.0, 10.0, 25.5, 30.0))


def test_csv_boxes_tensorflows_table_with_a_header(put, read_all, names_and_boxes) -> None:
    table = HEADER + "a.jpg,64,48,big  cat,10,5,30,25.5\nb.jpg,64,48,dog,1,2,3,4\na.jpg,64,48,dog,1,2,3,4\n"
    folder = put({"images/a.jpg": None, "images/b.jpg": None, "data/train_labels.csv": table})
    assert find_source(folder) == "csv"
    listing, images, problems = read_all("csv", folder)
    assert problems == []
    assert names_and_boxes(images["images/a.jpg"]) == [BOX, ("dog", (2, 1, 4, 3))]
    assert (images["images/a.jpg"].height, images["images/a.jpg"].width) == (48, 64)
    assert listing.sets == {"train": (0, 1)}


@pytest.mark.parametrize(
    "table",
    [
        "Image Path;Label;X1;Y1;X2;Y2\na.jpg;big cat;10;5;30;25.5\n",
        "Image Path;Label;X1;Y1;X2;Y2\na.jpg;big cat;10,0;5;30;25,5\n",
        "image_path\txmin\tymin\txmax\tymax\tlabel\na.jpg\t10\t5\t30\t25.5\tbig cat\n",
        "\ufeffImageID,LabelName,XMin,XMax,YMin,YMax\r\na,big cat,0.15625,0.46875,0.10416666666,0.53125\r\n",
        '"filename","class","xmin","ymin","xmax","ymax"\n"a.jpg","big\ncat","10","5","30","25.5"\n',
        "\n\n" + HEADER + "\na.jpg,64,48,big cat,10,5,30,25.5",
        "a.jpg,10,5,30,25.5,big cat\n",
        "TRAIN,gs://bucket/x/a.jpg,big cat,0.15625,0.10416666666,,,0.46875,0.53125,,\n",
        "gs://bucket/a.jpg,big cat,0.15625,0.10416666666,,,0.46875,0.53125,,\n",
        ",a.jpg,big cat,0.15625,0.10416666666,0.46875,0.10416666666,0.46875,0.53125,0.15625,0.53125\n",
    ],
)
def test_csv_boxes_however_the_table_is_written_it_says_the_same(put, read_all, names_and_boxes, table: str) -> None:
    folder = put({"images/a.jpg": None, "x.csv": table})
    assert find_source(folder) == "csv"
    _, images, problems = read_all("csv", folder)
    [(name, box)] = names_and_boxes(images["images/a.jpg"])
    assert (name, box) == (BOX[0], pytest.approx(BOX[1], abs=1e-6))
    assert problems == []


def test_csv_boxes_automls_first_column_names_the_sets(put, read_all) -> None:
    words = ("TRAIN", "VALIDATION", "TEST", "UNASSIGNED")
    rows = [f"{word},gs://b/{index}.jpg,cat,0.1,0.1,,,0.5,0.5,,\n" for index, word in enumerate(words)]
    files = {f"{index}.jpg": None for index in range(4)}
    listing, images, problems = read_all("csv", put(files | {"all.csv": "".join(rows)}))
    assert listing.sets == {"train": (0,), "val": (1,), "test": (2,)}
    assert (len(images), problems) == (4, [])


def test_csv_boxes_row_without_label_and_box_is_a_negative(put, read_all) -> None:
    rows = "TRAIN,a.jpg,,,,,,,,,\nTRAIN,b.jpg,cat,0.1,0.1,,,0.5,0.5,,\n"
    _, images, problems = read_all("csv", put({"a.jpg": None, "b.jpg": None, "x.csv": rows}))
    assert [len(images[name].objects) for name in ("a.jpg", "b.jpg")] == [0, 1]
    assert problems == []


def test_csv_boxes_flags_are_taken_where_there_are_columns(put, read_all) -> None:
    table = "filename,class,xmin,ymin,xmax,ymax,IsTruncated,difficult,IsGroupOf\na.jpg,cat,1,2,3,4,1,0,yes\n"
    _, images, _ = read_all("csv", put({"a.jpg": None, "x.csv": table}))
    thing = images["a.jpg"].objects[0]
    assert (thing.truncated, thing.difficult, thing.is_crowd) == (True, False, True)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("a.jpg,64,48,,1,2,3,4", "without a class"),
        ("a.jpg,64,48,cat,1,2,3", "missing or not a number"),
        ("a.jpg,64,48,cat,1,2,3,x", "missing or not a number"),
        ("a.jpg,64,48,cat,,,,", "missing or not a number"),
        ("a.jpg,64,48,cat,1,2,3,nan", "missing or not a number"),
        ("a.jpg,64,48,cat,1,2,3,1e999", "missing or not a number"),
        ("a.jpg", None),
    ],
)
def test_csv_boxes_unreadable_row_is_dropped_and_the_others_stay(put, read_all, row: str, words: str | None) -> None:
    table = f"{HEADER}{row}\na.jpg,64,48,cat,10,5,30,25.5\n"
    _, images, problems = read_all("csv", put({"a.jpg": None, "x.csv": table}))
    assert len(images["a.jpg"].objects) == 1
    assert [problem.code for problem in problems] == (["object_unreadable"] if words else [])
    assert words is None or words in problems[0].message


def test_csv_boxes_pixels_in_a_table_of_shares_are_dropped(put, read_all) -> None:
    row = "TRAIN,a.jpg,cat,0.1,0.1,,,0.5,0.5,,\n"
    _, images, problems = read_all("csv", put({"a.jpg": None, "x.csv": row * 20 + "TRAIN,a.jpg,cat,1,2,,,30,40,,\n"}))
    assert len(images["a.jpg"].objects) == 20
    assert "beyond 1" in problems[0].message


def test_csv_boxes_quote_without_end_swallows_its_line_and_is_named(put, read_all) -> None:
    table = HEADER + 'a.jpg,64,48,"cat' + "x" * 200_000 + "\nb.jpg,64,48,cat,1,2,3,4\n"
    _, images, problems = read_all("csv", put({"a.jpg": None, "b.jpg": None, "x.csv": table}))
    assert list(images) == ["b.jpg"]
    assert [problem.code for problem in problems] == ["line_unreadable", "image_without_annotation"]


def test_csv_boxes_what_belongs_to_nothing_is_named(put, read_all) -> None:
    table = HEADER + "a.jpg,64,48,cat,1,2,3,4\ngone.jpg,64,48,cat,1,2,3,4\n,,,,,,,\n"
    _, _, problems = read_all("csv", put({"a.jpg": None, "b.jpg": None, "x.csv": table}))
    assert [(problem.code, problem.file) for problem in problems] == [
        ("annotation_without_image", "gone.jpg"),
        ("annotation_without_image", "(no name)"),
        ("image_without_annotation", "b.jpg"),
    ]


def test_csv_boxes_image_of_two_tables_is_left_out_where_they_disagree(put, read_all) -> None:
    rows = ["a.jpg,64,48,cat,1,2,3,4\n", "b.jpg,64,48,cat,1,2,3,4\n"]
    other = "filename;xmin;ymin;xmax;ymax;label\nb.jpg;1,0;2,0;3,0;4,0;cat\na.jpg;1;2;3;4;dog\n"
    files = {"a.jpg": None, "b.jpg": None, "labels.csv": HEADER + "".join(rows), "train.csv": other}
    listing, images, problems = read_all("csv", put(files))
    assert (list(images), listing.sets) == (["b.jpg"], {"train": (0,)})
    assert [(problem.code, problem.file) for problem in problems] == [("annotations_disagree", "a.jpg")]


def test_csv_boxes_other_tables_are_none(put) -> None:
    with pytest.raises(DatasetError, match="No annotations were found"):
        find_source(put({"a.jpg": None, "x.csv": "a,b,c\n1,2,3\n", "y.csv": "", "z.csv": b"\xff\xfe\x00"}))


def test_csv_boxes_rejects_tables_of_another_layout(put, read_all) -> None:
    with pytest.raises(
        DatasetError, match=r"Of 1 row in the CSV tables in .*, none names an image .* b\.jpg: named in x\.csv"
    ):
        read_all("csv", put({"a.jpg": None, "x.csv": HEADER + "b.jpg,64,48,cat,1,2,3,4\n"}))
    with pytest.raises(DatasetError, match="Expected a CSV table of boxes"):
        read_all("csv", put({"x.csv": "nothing"}))


TWO = {"a.jpg": None, "b.jpg": None}
PIXELS = "b.jpg,64,48,dog,1,2,30,40\n"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("above", ["", "sep", "Export of my boxes\n\n"])
def test_csv_boxes_tables_of_spreadsheets_are_read(put, read_all, names_and_boxes, separator, encoding, above) -> None:
    table = (HEADER + "a.jpg,64,48,größer,10,5,30,25.5\n" + PIXELS).replace(",", separator).replace("\n", "\r\n")
    above = f"sep={separator}\r\n" if above == "sep" else above
    folder = put({**TWO, "x.csv": (above + table).encode(encoding)})
    assert find_source(folder) == "csv"
    _, images, problems = read_all("csv", folder)
    assert names_and_boxes(images["a.jpg"]) == [("größer", BOX[1])]
    assert names_and_boxes(images["b.jpg"]) == [("dog", (2, 1, 40, 30))]
    assert [problem.code for problem in problems] == (["encoding_guessed"] if encoding == "cp1252" else [])


@pytest.mark.parametrize("encoding", ["gb18030", "big5"])
def test_csv_boxes_table_in_an_encoding_that_cannot_be_told_is_refused_with_the_way_out(
    put, read_all, encoding
) -> None:
    folder = put({"a.jpg": None, "x.csv": (HEADER + "a.jpg,64,48,汽車,1,2,3,4\n").encode(encoding)})
    assert find_source(folder) == "csv"
    with pytest.raises(DatasetError, match=r"x\.csv: it is not UTF-8, .*iconv"):
        read_all("csv", folder)


def test_csv_boxes_table_in_another_encoding_beside_a_good_one_is_named(put, read_all) -> None:
    bad = (HEADER + "b.jpg,64,48,汽車,1,2,3,4\n").encode("gb18030")
    _, images, problems = read_all("csv", put({**TWO, "x.csv": bad, "y.csv": HEADER + "a.jpg,64,48,cat,1,2,3,4\n"}))
    assert list(images) == ["a.jpg"]
    assert [(problem.code, problem.file) for problem in problems] == [
        ("annotation_malformed", "x.csv"),
        ("image_without_annotation", "b.jpg"),
    ]


@pytest.mark.parametrize(
    "table",
    [
        "image,class,class_name,xmin,ymin,xmax,ymax\na.jpg,2,big cat,10,5,30,25.5\n",
        "image,class_name,class,xmin,ymin,xmax,ymax\na.jpg,big cat,2,10,5,30,25.5\n",
        "image,label,category,xmin,ymin,xmax,ymax\na.jpg,0,big cat,10,5,30,25.5\n",
        "image,category,name,xmin,ymin,xmax,ymax\na.jpg,3.0,big cat,10,5,30,25.5\n",
        "image_id,filename,label,xmin,ymin,xmax,ymax\n17,a.jpg,big cat,10,5,30,25.5\n",
        "image,path,label,xmin,ymin,xmax,ymax\n17,x/a.jpg,big cat,10,5,30,25.5\n",
        "name,class,xmin,ymin,xmax,ymax\na.jpg,big cat,10,5,30,25.5\n",
        "label,class,image,xmin,ymin,xmax,ymax\nbig cat,big cat,a.jpg,10,5,30,25.5\n",
        "label_name,bbox_x,bbox_y,bbox_width,bbox_height,image_name,image_width,image_height\n"
        "big cat,10,5,20,20.5,a.jpg,64,48\n",
    ],
)
def test_csv_boxes_columns_are_told_apart_by_their_cells(put, read_all, names_and_boxes, table: str) -> None:
    _, images, problems = read_all("csv", put({"a.jpg": None, "x.csv": table}))
    assert (names_and_boxes(images["a.jpg"]), problems) == ([BOX], [])


def test_csv_boxes_numbers_are_names_where_there_are_no_others(put, read_all, names_and_boxes) -> None:
    _, images, _ = read_all("csv", put({"a.jpg": None, "x.csv": "image,class,x1,y1,x2,y2\na.jpg,7,10,5,30,25.5\n"}))
    assert names_and_boxes(images["a.jpg"]) == [("7", BOX[1])]


def test_csv_boxes_two_columns_that_may_be_the_class_are_refused(put, read_all) -> None:
    rows = "a.jpg,animal,cat,1,2,3,4\na.jpg,animal,dog,1,2,3,4\n"
    with pytest.raises(DatasetError, match=r"the columns 'label' and 'Category' may both name the class, and differ"):
        read_all("csv", put({"a.jpg": None, "x.csv": "image,Category,label,x1,y1,x2,y2\n" + rows}))


@pytest.mark.parametrize(
    "first",
    ["a.jpg,,,,,\n", "TRAIN,a.jpg,,,,,,,,,\n"],
)
def test_csv_boxes_table_without_a_header_may_begin_with_a_negative(put, read_all, first: str) -> None:
    row = "b.jpg,1,2,3,4,cat\n" if first[0] == "a" else "TRAIN,b.jpg,cat,0.1,0.1,,,0.5,0.5,,\n"
    _, images, problems = read_all("csv", put({**TWO, "x.csv": first + row}))
    assert ([len(images[name].objects) for name in TWO], problems) == ([0, 1], [])


@pytest.mark.parametrize("num_pixels", [1, 30])
@pytest.mark.parametrize("num_fractions", [1, 30])
def test_csv_boxes_unit_is_that_of_each_image(put, read_all, names_and_boxes, num_pixels, num_fractions) -> None:
    fractions = "a.jpg,64,48,cat,0.15625,0.25,0.46875,0.5\n" * num_fractions
    _, images, problems = read_all("csv", put({**TWO, "x.csv": HEADER + fractions + PIXELS * num_pixels}))
    assert names_and_boxes(images["a.jpg"]) == [("cat", (12, 10, 24, 30))] * num_fractions
    assert names_and_boxes(images["b.jpg"]) == [("dog", (2, 1, 40, 30))] * num_pixels
    assert [(problem.code, problem.file) for problem in problems] == [
        ("unit_differs", "b.jpg" if num_fractions > num_pixels else "a.jpg")
    ]


def test_csv_boxes_box_of_another_unit_than_the_others_of_its_image_is_dropped(put, read_all) -> None:
    row = "b.jpg,64,48,dog,0.1,0.1,0.5,0.5\n"
    _, images, problems = read_all("csv", put({"b.jpg": None, "x.csv": HEADER + PIXELS + row}))
    assert len(images["b.jpg"].objects) == 1
    assert "between 0 and 1, where the others of the image are pixels" in problems[0].message


def test_csv_boxes_box_of_one_pixel_is_one(put, read_all, names_and_boxes) -> None:
    table = HEADER + "a.jpg,64,48,cat,0,0,1,1\n" + PIXELS
    _, images, problems = read_all("csv", put({**TWO, "x.csv": table}))
    assert (names_and_boxes(images["a.jpg"]), problems) == ([("cat", (0, 0, 1, 1))], [])


def test_csv_boxes_table_that_asks_what_is_on_its_images_is_no_table_of_negatives(put, read_all) -> None:
    question = HEADER + "b.jpg,64,48,,,,,\n"
    _, images, problems = read_all(
        "csv", put({**TWO, "train.csv": HEADER + "a.jpg,64,48,cat,1,2,3,4\n", "test.csv": question})
    )
    assert list(images) == ["a.jpg"]
    assert [(problem.code, problem.file) for problem in problems] == [("image_without_annotation", "b.jpg")]


@pytest.mark.parametrize("name", ["\x1b[2Jcat", "a\u202eb", "x" * 300])
def test_csv_boxes_class_name_that_cannot_be_printed_is_no_class(put, read_all, name: str) -> None:
    table = f"{HEADER}a.jpg,64,48,{name},1,2,3,4\na.jpg,64,48,cat,1,2,3,4\n"
    _, images, problems = read_all("csv", put({"a.jpg": None, "x.csv": table}))
    assert (len(images["a.jpg"].objects), [problem.code for problem in problems]) == (1, ["object_unreadable"])

import pytest

from tfrmod.errors import DatasetError
from tfrmod.sources import find_source

HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
BOX = ("big cat", (5.0, 10.0, 25.5, 30.0))


def test_tensorflows_table_with_a_header(put, read_all, names_and_boxes) -> None:
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
def test_however_the_table_is_written_it_says_the_same(put, read_all, names_and_boxes, table: str) -> None:
    folder = put({"images/a.jpg": None, "x.csv": table})
    assert find_source(folder) == "csv"
    _, images, problems = read_all("csv", folder)
    [(name, box)] = names_and_boxes(images["images/a.jpg"])
    assert (name, box) == (BOX[0], pytest.approx(BOX[1], abs=1e-6))
    assert problems == []


def test_automls_first_column_names_the_sets(put, read_all) -> None:
    words = ("TRAIN", "VALIDATION", "TEST", "UNASSIGNED")
    rows = [f"{word},gs://b/{index}.jpg,cat,0.1,0.1,,,0.5,0.5,,\n" for index, word in enumerate(words)]
    files = {f"{index}.jpg": None for index in range(4)}
    listing, images, problems = read_all("csv", put(files | {"all.csv": "".join(rows)}))
    assert listing.sets == {"train": (0,), "val": (1,), "test": (2,)}
    assert (len(images), problems) == (4, [])


def test_a_row_without_label_and_box_is_a_negative(put, read_all) -> None:
    rows = "TRAIN,a.jpg,,,,,,,,,\nTRAIN,b.jpg,cat,0.1,0.1,,,0.5,0.5,,\n"
    _, images, problems = read_all("csv", put({"a.jpg": None, "b.jpg": None, "x.csv": rows}))
    assert [len(images[name].objects) for name in ("a.jpg", "b.jpg")] == [0, 1]
    assert problems == []


def test_flags_are_taken_where_there_are_columns(put, read_all) -> None:
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
def test_an_unreadable_row_is_dropped_and_the_others_stay(put, read_all, row: str, words: str | None) -> None:
    table = f"{HEADER}{row}\na.jpg,64,48,cat,10,5,30,25.5\n"
    _, images, problems = read_all("csv", put({"a.jpg": None, "x.csv": table}))
    assert len(images["a.jpg"].objects) == 1
    assert [problem.code for problem in problems] == (["object_unreadable"] if words else [])
    assert words is None or words in problems[0].message


def test_pixels_in_a_table_of_shares_are_dropped(put, read_all) -> None:
    row = "TRAIN,a.jpg,cat,0.1,0.1,,,0.5,0.5,,\n"
    _, images, problems = read_all("csv", put({"a.jpg": None, "x.csv": row * 20 + "TRAIN,a.jpg,cat,1,2,,,30,40,,\n"}))
    assert len(images["a.jpg"].objects) == 20
    assert "beyond 1" in problems[0].message


def test_a_quote_without_end_swallows_its_line_and_is_named(put, read_all) -> None:
    table = HEADER + 'a.jpg,64,48,"cat' + "x" * 200_000 + "\nb.jpg,64,48,cat,1,2,3,4\n"
    _, images, problems = read_all("csv", put({"a.jpg": None, "b.jpg": None, "x.csv": table}))
    assert list(images) == ["b.jpg"]
    assert [problem.code for problem in problems] == ["line_unreadable", "image_without_annotation"]


def test_what_belongs_to_nothing_is_named(put, read_all) -> None:
    table = HEADER + "a.jpg,64,48,cat,1,2,3,4\ngone.jpg,64,48,cat,1,2,3,4\n,,,,,,,\n"
    _, _, problems = read_all(
        "csv", put({"a.jpg": None, "b.jpg": None, "x.csv": table, "y.csv": HEADER + "a.jpg,1,1,x,1,2,3,4"})
    )
    assert [(problem.code, problem.file) for problem in problems] == [
        ("annotation_without_image", "gone.jpg"),
        ("annotation_without_image", "(no name)"),
        ("annotation_twice", "a.jpg"),
        ("image_without_annotation", "b.jpg"),
    ]


def test_other_tables_are_none(put) -> None:
    with pytest.raises(DatasetError, match="No annotations were found"):
        find_source(put({"a.jpg": None, "x.csv": "a,b,c\n1,2,3\n", "y.csv": "", "z.csv": b"\xff\xfe\x00"}))


def test_tables_of_strangers_are_refused(put, read_all) -> None:
    with pytest.raises(DatasetError, match=r"None of the 1 rows of x\.csv names a photo"):
        read_all("csv", put({"a.jpg": None, "x.csv": HEADER + "b.jpg,64,48,cat,1,2,3,4\n"}))
    with pytest.raises(DatasetError, match="Expected a CSV table of boxes"):
        read_all("csv", put({"x.csv": "nothing"}))

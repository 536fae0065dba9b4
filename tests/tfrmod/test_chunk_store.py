from pathlib import Path

import pytest

from tfrmod import chunk_store
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject
from tfrmod.problems import Problem
from tfrmod.sources import Entry
from tfrmod.validate_image import ValidatedImage

STAMP = ["a.jpg", 7, 8]


def image(name: str, *, path: Path) -> AnnotatedImage:
    return AnnotatedImage(
        filename=name,
        objects=(
            AnnotatedObject("b", (0.1, 2, 3, 4 / 3), difficult=True, view="left", mask_area=1.5, mask=b"\x89\xff"),
            AnnotatedObject("a", (1, 2, 3, 4)),
        ),
        height=5,
        width=6,
        path=path,
        format="jpeg",
        sha256="00000000000000ff" + "0" * 48,
        source_id="9",
        segmentation=b"\x00",
    )


def test_chunk_store_chunk_gives_back_what_went_in(tmp_path: Path) -> None:
    beside, elsewhere = tmp_path / "00000033.png", Path("/elsewhere/\udcff.jpg")
    images = [image("x\udcff", path=beside), image("y", path=elsewhere)]
    problem = Problem("box_empty", "z.xml", "b")
    outcomes = [
        ValidatedImage(images[0], (), 77, ("bee",)),
        ValidatedImage(None, (problem,)),
        ValidatedImage(images[1], (problem,), None),
    ]
    written = chunk_store.write_chunk(tmp_path / "1.chunk", 32, outcomes, STAMP)
    read = chunk_store.read_chunk(tmp_path / "1.chunk", STAMP)
    assert read == written
    assert [(row.position, row.identity, row.image_hash, row.classes) for row in written.rows] == [
        (32, 255, 77, ("a", "b")),
        (34, 255, 0, ("a", "b")),
    ]
    assert (written.boxes_per_class, written.problems, written.aliased) == ({"b": 2, "a": 2}, (problem,) * 2, ("bee",))
    assert [chunk_store.read_image(tmp_path / "1.chunk", row.offset) for row in written.rows] == images


def test_chunk_store_images_that_lie_beside_a_chunk_may_be_moved_with_it(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    outcomes = [ValidatedImage(image("x", path=tmp_path / "one" / "0.png"), ())]
    row = chunk_store.write_chunk(tmp_path / "one" / "1.chunk", 0, outcomes, STAMP).rows[0]
    (tmp_path / "one").rename(tmp_path / "two")
    assert chunk_store.read_image(tmp_path / "two" / "1.chunk", row.offset).path == tmp_path / "two" / "0.png"


@pytest.mark.parametrize("change", [lambda data: data[:-3], lambda data: b"!" + data[1:], lambda data: b""])
def test_chunk_store_damaged_chunk_counts_as_absent(tmp_path: Path, change) -> None:
    path = tmp_path / "1.chunk"
    assert chunk_store.read_chunk(path, STAMP) is None
    chunk_store.write_chunk(path, 0, [ValidatedImage(image("x", path=tmp_path / "0.png"), ())], STAMP)
    assert chunk_store.read_chunk(path, [*STAMP, 1]) is None
    path.write_bytes(change(path.read_bytes()))
    assert chunk_store.read_chunk(path, STAMP) is None


def test_chunk_store_chunk_may_hold_no_image(tmp_path: Path) -> None:
    written = chunk_store.write_chunk(tmp_path / "1.chunk", 0, [ValidatedImage(None, ())], STAMP)
    assert chunk_store.read_chunk(tmp_path / "1.chunk", STAMP) == written
    assert written.rows == ()


def test_chunk_store_entries_are_read_again_one_by_one_or_in_chunks(tmp_path: Path) -> None:
    listed = [Entry(f"{index}\udcff.jpg", "", bytes([index])) for index in range(70)]
    entries = chunk_store.Entries(tmp_path / "entries", listed)
    assert len(entries) == 70
    assert [entries[index] for index in (0, 31, 32, 69)] == [listed[index] for index in (0, 31, 32, 69)]
    assert [len(chunk) for chunk in entries.chunks()] == [32, 32, 6]
    assert [entry for chunk in entries.chunks() for entry in chunk] == listed

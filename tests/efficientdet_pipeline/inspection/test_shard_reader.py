"""Damaged shards: intact records are read, and damaged ones are reported by position."""

from collections.abc import Callable
from pathlib import Path

import pytest

from efficientdet_pipeline.inspection.shard_reader import (
    DamagedRecord,
    ReadRecord,
    annotated_image,
    read_shard,
    serialized_record,
)
from tfrmod.tfrecord_io import scan_records

Make = Callable[..., Path]


@pytest.fixture
def three(shard: Make, record: Callable[..., bytes], obj: Callable) -> tuple[Path, list[int]]:
    """Returns a file of three records, and their offsets."""
    path = shard("three.tfrecord", *(record([obj((6, 8, 30, 40))], filename=f"{n}.png") for n in range(3)))
    return path, [found.offset for found in scan_records(path)]


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.write_bytes(content)


def names(path: Path) -> list[str | None]:
    return [found.image.filename if isinstance(found, ReadRecord) else None for found in read_shard(path)]


def test_shard_reader_whole_records_are_read_in_order(three: tuple[Path, list[int]]) -> None:
    path, offsets = three
    found = list(read_shard(path))
    assert [each.image.filename for each in found] == ["0.png", "1.png", "2.png"]
    assert [(each.location.record, each.location.offset) for each in found] == list(enumerate(offsets))
    again = annotated_image(serialized_record(found[1].location))
    assert again == found[1].image
    assert again.objects[0].box == pytest.approx((6, 8, 30, 40), abs=1e-4)


def test_shard_reader_flipped_byte_costs_one_record(three: tuple[Path, list[int]]) -> None:
    path, offsets = three
    flip(path, offsets[1] + 40)
    assert names(path) == ["0.png", None, "2.png"]
    fault = list(read_shard(path))[1]
    assert (fault.location.file, fault.location.record, fault.location.offset) == (path, 1, offsets[1])
    assert fault.what == "the checksum of its data is wrong"


def test_shard_reader_flipped_length_costs_the_rest(three: tuple[Path, list[int]]) -> None:
    path, offsets = three
    flip(path, offsets[1] + 1)
    assert names(path) == ["0.png", None]
    rest = path.stat().st_size - offsets[1]
    expected = f"the checksum of its length is wrong; the remaining {rest:,} bytes cannot be read"
    assert list(read_shard(path))[1].what == expected


def test_shard_reader_cut_file_is_read_up_to_the_cut(three: tuple[Path, list[int]]) -> None:
    path, offsets = three
    path.write_bytes(path.read_bytes()[: offsets[2] + 20])
    assert names(path) == ["0.png", "1.png", None]
    assert list(read_shard(path))[2].location.offset == offsets[2]


def test_shard_reader_file_of_another_kind_is_doubted(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"\xff\xd8" * 30)
    (fault,) = read_shard(path)
    assert fault.what.endswith("the remaining 60 bytes cannot be read; is this a TFRecord file?")


def test_shard_reader_empty_file_has_no_records(tmp_path: Path) -> None:
    path = tmp_path / "empty.tfrecord"
    path.touch()
    assert list(read_shard(path)) == []


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"encoded": b"\xff\xd8\xff no photo"}, "its image a.png is damaged"),
        ({"encoded": b""}, "its image a.png is damaged"),
        ({"kind": "TIFF"}, "its image a.png is TIFF, which TensorFlow does not read"),
    ],
)
def test_shard_reader_image_that_training_could_not_read_is_a_fault(
    fields: dict[str, object], sentence: str, shard: Make, record: Callable[..., bytes]
) -> None:
    first, second = read_shard(shard("one.tfrecord", record(**fields), record()))
    assert isinstance(first, DamagedRecord)
    assert sentence in first.what
    assert isinstance(second, ReadRecord)


def test_shard_reader_bytes_that_are_no_example_are_a_fault(shard: Make) -> None:
    (fault,) = read_shard(shard("one.tfrecord", b"no example at all"))
    assert fault.what == "A record of 17 bytes is not a tf.train.Example"


def test_shard_reader_size_of_the_image_takes_precedence_over_that_of_the_record(
    shard: Make, record: Callable[..., bytes], obj: Callable
) -> None:
    # Boxes are fractions of height and width: (30, 40) of a stated (60, 80) is (15, 20) of a real (30, 40).
    path = shard("one.tfrecord", record([obj((0, 0, 30, 40))], size=(30, 40), height=60, width=80))
    (found,) = read_shard(path)
    assert (found.image.height, found.image.width) == (30, 40)
    assert found.image.objects[0].box == pytest.approx((0, 0, 15, 20), abs=1e-4)

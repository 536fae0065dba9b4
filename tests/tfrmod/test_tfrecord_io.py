import os
from pathlib import Path

import pytest
import tensorflow as tf

from tfrmod import tfrecord_io
from tfrmod.errors import DatasetError


def test_tfrecord_io_tensorflow_reads_what_is_written_and_the_reverse(tmp_path: Path) -> None:
    records = [b"", b"one", bytes(range(256)) * 9]
    info = tfrecord_io.write_records(tmp_path / "a.tfrecord", records)
    assert [record.numpy() for record in tf.data.TFRecordDataset(str(tmp_path / "a.tfrecord"))] == records
    assert (info.num_images, info.num_bytes) == (3, (tmp_path / "a.tfrecord").stat().st_size)
    with tf.io.TFRecordWriter(str(tmp_path / "b.tfrecord")) as writer:
        for record in records:
            writer.write(record)
    assert (tmp_path / "a.tfrecord").read_bytes() == (tmp_path / "b.tfrecord").read_bytes()
    assert list(tfrecord_io.read_records(tmp_path / "b.tfrecord")) == records


def test_tfrecord_io_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def broken():
        yield b"one"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        tfrecord_io.write_records(tmp_path / "a.tfrecord", broken())
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("position", "words"),
    [
        (0, "record 0 .*byte 0.*length"),
        (9, "record 0 .*length"),
        (14, "record 0 .*data"),
        (28, "record 1 .*byte 21.*length"),
    ],
)
def test_tfrecord_io_flipped_bit_is_found_and_named(tmp_path: Path, position: int, words: str) -> None:
    path = tmp_path / "a.tfrecord"
    tfrecord_io.write_records(path, [b"first", b"second"])
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=words):
        list(tfrecord_io.read_records(path))


@pytest.mark.parametrize("cut", [1, 5, 11, 20, 25])
def test_tfrecord_io_file_cut_short_is_found(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.tfrecord"
    tfrecord_io.write_records(path, [b"first", b"second"])
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(DatasetError, match=r"record \d "):
        list(tfrecord_io.read_records(path))


def test_tfrecord_io_empty_file_holds_no_records(tmp_path: Path) -> None:
    (tmp_path / "a.tfrecord").touch()
    assert list(tfrecord_io.read_records(tmp_path / "a.tfrecord")) == []

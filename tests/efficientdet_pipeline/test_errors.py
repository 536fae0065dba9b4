"""Every error ends with its exit code and one paragraph."""

import errno
import os
import re
from pathlib import Path

import pytest
import tensorflow as tf
from efficientdet.errors import CheckpointError

from efficientdet_pipeline.errors import (
    EXIT_CODE_MEANING,
    DataError,
    ExitCode,
    MissingError,
    OptionsError,
    StoppedError,
    error_message,
    exit_code_of,
    pipeline_error,
)
from tfrmod.errors import DatasetError, NetworkError


def os_error(number: int, path: str | None = "runs/x") -> OSError:
    return OSError(number, os.strerror(number), path)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OptionsError("x"), 2),
        (MemoryError("x"), 2),
        (DataError("x"), 65),
        (DatasetError("x"), 65),
        (CheckpointError("x"), 65),
        (MissingError("x"), 66),
        (DatasetError("x", missing=True), 66),
        (os_error(errno.ENOENT), 66),
        (os_error(errno.EISDIR), 66),
        (os_error(errno.ENAMETOOLONG), 66),
        (os_error(errno.ENOSPC), 73),
        (os_error(errno.EDQUOT), 73),
        (os_error(errno.EACCES), 73),
        (os_error(errno.EPERM), 73),
        (os_error(errno.EROFS), 73),
        (os_error(errno.EEXIST), 73),
        (os_error(errno.ENOTDIR), 73),
        (OSError("[Errno 28] Can't write data, No space left on device"), 73),
        (RuntimeError("h5py: No space left on device"), 73),
        (NetworkError("x"), 75),
        (StoppedError("x", exit_code=ExitCode.TRY_AGAIN), 75),
        (StoppedError("x", exit_code=ExitCode.INTERRUPTED), 130),
        (ValueError("x"), 70),
        (KeyError("x"), 70),
        (OSError("x"), 70),
    ],
)
def test_an_error_has_its_exit_code(error: Exception, code: int) -> None:
    assert exit_code_of(error) == code


@pytest.mark.parametrize(
    "error", [OptionsError("So."), DatasetError("So."), MissingError("So."), CheckpointError("So.")]
)
def test_what_is_meant_for_users_is_reported_as_it_is(error: Exception) -> None:
    assert error_message(error) == "So."


def test_our_own_bug_is_called_so() -> None:
    sentence = error_message(KeyError("weights"))
    assert sentence.startswith("Internal error: KeyError: 'weights'.")
    assert "--traceback" in sentence


def test_a_fault_of_a_record_that_tensorflow_finds_is_one_of_the_data(tmp_path: Path) -> None:
    damaged = tmp_path / "val.tfrecord"
    damaged.write_bytes(b"no records, but text")

    def checked(value: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies([tf.debugging.Assert(value < 0, ["A record must be one. Image:", "a.jpg"])]):
            return tf.identity(value)

    for dataset, message in (
        (
            tf.data.TFRecordDataset(str(damaged)),
            r"^A shard is damaged or no TFRecord file \(corrupted record at 0\)\. --mode=verify ",
        ),
        (tf.data.Dataset.range(1).map(checked), r"^A record must be one\. Image: \[a\.jpg\]$"),
    ):
        with pytest.raises(tf.errors.OpError) as caught:
            list(dataset)
        assert exit_code_of(caught.value) == ExitCode.DATA
        assert re.search(message, error_message(caught.value))
    assert exit_code_of(tf.errors.InvalidArgumentError(None, None, "Incompatible shapes")) == ExitCode.BUG


def test_too_little_memory_is_reported_with_advice() -> None:
    assert error_message(MemoryError()).startswith("The memory is too small: MemoryError. Choose a smaller network")
    assert "Unable to allocate 1 TiB. Choose" in str(pipeline_error(MemoryError("Unable to allocate 1 TiB")))


def test_a_place_that_cannot_be_written_is_named() -> None:
    assert error_message(os_error(errno.ENOSPC)).startswith("Cannot write runs/x: No space left on device.")
    assert error_message(os_error(errno.EACCES)).startswith("Cannot read or write runs/x: Permission denied.")
    assert error_message(os_error(errno.ENOSPC, None)).startswith("Cannot write: No space left on device.")
    hdf5 = "cannot flush (file write failed: time = now\n, filename = 'runs/x/w.h5', error message = 'No space "
    for kind in (OSError, RuntimeError):
        sentence = error_message(kind(hdf5 + "left on device', offset = 57344)"))
        assert sentence.startswith("Cannot write runs/x/w.h5: No space left on device. The folder must")


def test_a_mount_that_has_gone_is_called_so() -> None:
    error = OSError(errno.ENOTCONN, "Transport endpoint is not connected", "/gcs/bucket/log.txt")
    assert exit_code_of(error) is ExitCode.CANNOT_WRITE
    assert re.search("Cannot read or write /gcs/bucket/log.txt: Transport .* mount it again", error_message(error))


def test_a_missing_file_is_named() -> None:
    assert error_message(os_error(errno.ENOENT)) == "No such file or directory: runs/x. Check the path."


def test_every_exit_code_is_explained() -> None:
    assert set(EXIT_CODE_MEANING) == set(ExitCode)
    assert {int(code) for code in ExitCode} == {0, 2, 3, 65, 66, 69, 70, 73, 75, 79, 130}

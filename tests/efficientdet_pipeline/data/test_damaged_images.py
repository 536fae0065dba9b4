"""A JPEG whose data end early is trained on with grey, and a warning names it once."""

import io
import logging as standard_logging

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from efficientdet_pipeline.data.tfrecord_reader import decode_record_image
from efficientdet_pipeline.errors import ExitCode, error_message, exit_code_of

END = b"\xff\xd9"


def encoded(kind: str, color: int | None = None) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (25, 30, 3), dtype=np.uint8)
    image = Image.fromarray(pixels if color is None else np.full_like(pixels, color)).resize((240, 200))
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def decoded(*files: tuple[bytes, str]) -> list[np.ndarray]:
    dataset = tf.data.Dataset.from_tensor_slices(([data for data, _ in files], [name for _, name in files]))
    return list(dataset.repeat(2).map(decode_record_image, num_parallel_calls=2).as_numpy_iterator())


def test_warn_if_damaged_names_a_jpeg_without_much_of_its_data(caplog: pytest.LogCaptureFixture) -> None:
    whole = encoded("JPEG")
    with caplog.at_level(standard_logging.WARNING, logger="absl"):
        images = decoded(
            (whole, "whole.jpg"),
            (whole[: len(whole) // 2] + END, "é half.jpg"),
            (encoded("JPEG", 128), "grey.jpg"),
            (encoded("PNG", 128), "grey.png"),
        )
    assert {image.shape for image in images} == {(200, 240, 3)}
    assert np.array_equal(images[0], tf.io.decode_jpeg(whole, dct_method="INTEGER_ACCURATE").numpy())
    (message,) = caplog.messages
    assert message.startswith(
        "The image é half.jpg is damaged, and what is missing is grey: its data are truncated: the"
    )
    assert message.endswith(
        "% of the image is missing. Convert the images again without --no_verify, which leaves it out."
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_images_that_cannot_be_decoded_are_a_fault_of_the_data(kind: str) -> None:
    data = encoded(kind)
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        decoded((data[: len(data) // 2], "half"))
    assert exit_code_of(caught.value) == ExitCode.DATA
    expected = f"An image in the shards is damaged (Invalid {kind} data). --mode=doctor --train_file_pattern='SHARDS-*'"
    assert error_message(caught.value).startswith(expected)

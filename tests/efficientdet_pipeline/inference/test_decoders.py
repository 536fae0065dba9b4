"""Training, evaluation, inference and other programs decode an image to bit-identical pixels."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from efficientdet_pipeline.data.tfrecord_reader import decode_record_image
from efficientdet_pipeline.inference.image_io import read_image
from tfrmod.errors import DatasetError
from tfrmod.image_file import check_image

SAMPLING = {
    name: getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{name}", None) for name in ("411", "420", "422", "440", "444")
}
MOST_PIXELS = 20_000_000


def drawn_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Returns uint8 RGB with edges, gradients and noise, which a DCT rounds in many ways."""
    random = np.random.RandomState(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    image = np.stack([rows * 255 // height, columns * 255 // width, (rows // 5 + columns // 7) % 2 * 255], axis=-1)
    return np.clip(image + random.randint(-40, 40, image.shape), 0, 255).astype(np.uint8)


def jpeg(image: np.ndarray, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", **options)
    return out.getvalue()


def in_training(content: bytes) -> np.ndarray:
    """Returns the pixels that training and evaluation decode from the record of a file, inside a pipeline."""
    stored = tf.data.Dataset.from_tensors(check_image(content).encoded).map(decode_record_image)
    return next(stored.as_numpy_iterator())


def in_inference(content: bytes, folder: Path) -> np.ndarray:
    path = folder / "image"
    path.write_bytes(content)
    return read_image(path)


@pytest.mark.parametrize("size", [(48, 64), (33, 47), (8, 200)])
@pytest.mark.parametrize(
    "options",
    [
        {"quality": 95, "subsampling": 0},
        {"quality": 75, "subsampling": 1},
        {"quality": 50, "subsampling": 2},
        {"quality": 20, "subsampling": 2, "progressive": True},
    ],
)
def test_image_io_decoders_of_drawn_jpegs_agree(
    tmp_path: Path, size: tuple[int, int], options: dict[str, object]
) -> None:
    content = jpeg(drawn_image(*size), **options)
    trained = in_training(content)
    np.testing.assert_array_equal(trained, in_inference(content, tmp_path))
    np.testing.assert_array_equal(trained, np.asarray(Image.open(io.BytesIO(content))))


@pytest.mark.parametrize("name", [name for name, value in SAMPLING.items() if value is not None])
def test_image_io_decoders_agree_with_opencv_at_every_sampling(tmp_path: Path, name: str) -> None:
    options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SAMPLING[name], cv2.IMWRITE_JPEG_RST_INTERVAL, 3]
    content = cv2.imencode(".jpg", drawn_image(61, 83)[..., ::-1], options)[1].tobytes()
    trained = in_training(content)
    np.testing.assert_array_equal(trained, in_inference(content, tmp_path))
    opencv = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(trained, opencv)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "WEBP", "TIFF"])
def test_image_io_decoders_of_other_formats_agree(tmp_path: Path, kind: str) -> None:
    out = io.BytesIO()
    Image.fromarray(drawn_image(40, 56)).save(out, kind)
    np.testing.assert_array_equal(in_training(out.getvalue()), in_inference(out.getvalue(), tmp_path))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_image_io_decoders_of_a_rotated_jpeg_agree(tmp_path: Path, orientation: int) -> None:
    """The record of a rotated JPEG has it rotated and re-encoded; inference gets those pixels, not the file's."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = jpeg(drawn_image(40, 56), quality=80, exif=exif.tobytes())
    trained = in_training(content)
    np.testing.assert_array_equal(trained, in_inference(content, tmp_path))
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    assert trained.shape == upright.shape
    assert np.abs(trained.astype(int) - upright).max() <= (0 if orientation == 1 else 16)


def test_image_io_decoders_of_strange_files_agree(test_data: Path, tmp_path: Path) -> None:
    compared = []
    for path in sorted((test_data / "nasty").iterdir()):
        content = path.read_bytes()
        try:
            stored = check_image(content, max_pixels=MOST_PIXELS)
        except DatasetError:
            continue
        np.testing.assert_array_equal(in_training(content), in_inference(content, tmp_path), err_msg=path.name)
        compared.append(stored.content)
    assert {"JPEG", "PNG", "WEBP", "TIFF"} <= set(compared)
    assert len(compared) > 20

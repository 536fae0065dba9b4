"""--mode=infer: written files, and files that stay untouched."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from efficientdet_pipeline.cli import main
from efficientdet_pipeline.runs.output_files import NOTE

RESULTS = {"detections.json", "detections_coco.json"}
# Inside, over the edge, on a line of no width beyond the edge, outside, without height.
BOXES = [
    (2.0, 3.0, 20.0, 30.0),
    (-4.0, 5.0, 12.0, 80.0),
    (0.0, 40.0, 9.0, 50.0),
    (50.0, 50.0, 60.0, 60.0),
    (5.0, 1.0, 5.0, 9.0),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a frozen graph with the same detections for every image."""

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")])
    def serve(images: tf.Tensor) -> tuple[tf.Tensor, ...]:
        count = tf.shape(images)[0]
        boxes = tf.tile(tf.constant([BOXES]), [count, 1, 1])
        size = len(BOXES)
        scores = tf.tile(tf.constant([[0.9, 0.8, 0.7, 0.6, 0.5]]), [count, 1])
        return boxes, scores, tf.ones_like(scores), tf.fill([count], size)

    path = tmp_path_factory.mktemp("model") / "model.pb"
    graph = convert_variables_to_constants_v2(serve.get_concrete_function()).graph
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a.jpg", "b.png"):
        Image.fromarray(np.zeros((32, 40, 3), np.uint8)).save(folder / name)
    return folder


def infer(model: Path, *more: str) -> int:
    return main(["--mode=infer", f"--saved_model_dir={model}", "--input_image=images", "--output_image_dir=out", *more])


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["a.jpg", "b.png", "detections.json", "detections_coco.json"])
def test_a_file_of_the_users_own_is_not_replaced(
    model: Path, images: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    out = images.parent / "out"
    out.mkdir()
    for each in (name, "other.txt"):
        (out / each).write_text('{"mine": 1}')
    assert infer(model) == 2
    assert f"contains {name}, not written by an earlier call" in capfd.readouterr().err
    assert {path.name: path.read_text() for path in out.iterdir()} == dict.fromkeys([name, "other.txt"], '{"mine": 1}')


def test_results_of_an_earlier_call_are_replaced(model: Path, images: Path) -> None:
    out = images.parent / "out"
    assert infer(model) == 0
    assert names(out) == {NOTE, "a.jpg", "b.png", *RESULTS}
    assert infer(model) == 0
    (out / NOTE).unlink()  # As in versions without a note; detections.json has the same information.
    (out / "detections_coco.json").unlink()
    assert infer(model) == 0
    (images / "a.jpg").rename(images / "c.jpg")
    assert infer(model) == 0
    assert names(out) == {NOTE, "a.jpg", "b.png", "c.jpg", *RESULTS}


def test_boxes_without_an_area_in_the_image_are_left_out(model: Path, images: Path) -> None:
    assert infer(model) == 0
    for record in json.loads((images.parent / "out/detections.json").read_text()):
        boxes = [
            tuple(detection["box"][side] for side in ("y0", "x0", "y1", "x1")) for detection in record["detections"]
        ]
        assert boxes == [(2.0, 3.0, 20.0, 30.0), (0.0, 5.0, 12.0, 40.0)]

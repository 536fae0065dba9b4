"""Predictors, selected by path."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from efficientdet.checkpoint import save_checkpoint
from efficientdet.config import get_config
from efficientdet.errors import CheckpointError
from efficientdet.model import build_model
from efficientdet.types import Detections
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from efficientdet_pipeline.errors import DataError, OptionsError
from efficientdet_pipeline.inference.predictor import GraphPredictor, load_predictor, model_predictor
from efficientdet_pipeline.models.description import label_map_beside

PHOTO = np.arange(2 * 6 * 8 * 3, dtype=np.uint8).reshape(2, 6, 8, 3)


class Stub(tf.Module):
    """Returns a box of the image's size for every image, its mean as score, with the outputs of automl's exports."""

    def __init__(self) -> None:
        super().__init__()
        self.class_id = tf.Variable(2.0)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")])
    def serve(self, images: tf.Tensor) -> tuple[tf.Tensor, ...]:
        shape = tf.shape(images)
        box = tf.cast([[0, 0, shape[1], shape[2]]], tf.float32)
        scores = tf.reduce_mean(tf.cast(images, tf.float32), axis=[1, 2, 3])[:, tf.newaxis] / 255
        return (
            tf.tile(box[tf.newaxis], [shape[0], 1, 1]),
            scores,
            tf.ones_like(scores) * self.class_id,
            tf.ones(shape[:1], tf.int32),
        )


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with a SavedModel, a frozen graph and their labels."""
    folder, stub = tmp_path_factory.mktemp("run") / "export", Stub()
    tf.saved_model.save(stub, str(folder / "saved_model"), signatures={"serving_default": stub.serve})
    tf.saved_model.save(tf.Module(), str(folder / "silent"))
    frozen = convert_variables_to_constants_v2(stub.serve.get_concrete_function())
    (folder / "stub_frozen.pb").write_bytes(frozen.graph.as_graph_def().SerializeToString())
    (folder / "broken.pb").write_bytes(b"not a graph")
    (folder / "other.pb").write_bytes(tf.Graph().as_graph_def().SerializeToString())
    (folder / "label_map.yaml").write_text("1: cat\n2: 7\n")
    return folder


@pytest.mark.parametrize("path", ["saved_model", "saved_model/saved_model.pb", ".", "stub_frozen.pb"])
def test_predictor_export_is_found_by_any_of_its_paths(exports: Path, path: str) -> None:
    runner = load_predictor(exports / path)
    for photos in (PHOTO, PHOTO[:1, :4]):
        found = runner.detect(photos)
        height, width = photos.shape[1:3]
        np.testing.assert_array_equal(found.boxes, [[[0, 0, height, width]]] * len(photos))
        np.testing.assert_allclose(found.scores[:, 0], photos.mean((1, 2, 3)) / 255, rtol=1e-5)
        assert (found.class_ids == 2).all()
        assert found.num_valid.tolist() == [1] * len(photos)
        assert all(isinstance(part, np.ndarray) for part in found)
    assert label_map_beside(exports / path) == {1: "cat", 2: "7"}


@pytest.mark.parametrize("name", ["silent", "broken.pb", "other.pb"])
def test_predictor_what_does_not_detect_is_named(exports: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"{name} must be an exported detector"):
        load_predictor(exports / name)


def test_predictor_missing_model_is_answered_with_similar_names(exports: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"frozen graph .* does not exist\. Similar names: .*stub_frozen\.pb"):
        load_predictor(exports / "stub_frozn.pb")
    with pytest.raises(FileNotFoundError, match=r"The model .*savd_model does not exist\. Similar .*saved_model"):
        load_predictor(exports / "savd_model")
    assert label_map_beside(exports.parent / "elsewhere" / "x.pb") is None


def test_predictor_checkpoint_needs_its_network(tmp_path: Path) -> None:
    path = tmp_path / "model.weights.h5"
    path.touch()
    with pytest.raises(OptionsError, match="needs the name of its network"):
        load_predictor(path)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:keras")
def test_predictor_checkpoint_detects_with_its_weights(tmp_path: Path) -> None:
    config = get_config("efficientdet-d0", num_classes=2, image_size=64, fpn_cell_repeats=1, box_class_repeats=1)
    model = build_model(config)
    for variable in model.trainable_variables:
        if variable.name == "bias":
            variable.assign(np.linspace(-1, 1, variable.shape[0]))
    path = tmp_path / "model.weights.h5"
    save_checkpoint(model, path)

    found = load_predictor(path, config).detect(PHOTO)

    in_memory = model_predictor(model, config)
    expected = in_memory.detect(PHOTO)
    assert found.num_valid.min() > 0
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(DataError, match=r"must have every variable of the model in its shape.* Check --path_ckpt"):
        load_predictor(path, get_config("efficientdet-d0", num_classes=3, fpn_cell_repeats=1, box_class_repeats=1))

    # A predictor on a model in memory uses its current weights, so that one predictor serves a whole training.
    for variable in model.trainable_variables:
        if variable.name == "bias":
            variable.assign(np.linspace(1, -1, variable.shape[0]))
    assert (in_memory.detect(PHOTO).scores != expected.scores).any()


def test_predictor_damaged_checkpoint_is_the_detectors_to_refuse(tmp_path: Path) -> None:
    path = tmp_path / "model.weights.h5"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError):
        load_predictor(path, get_config("efficientdet-d0", num_classes=2, image_size=64))


@pytest.mark.parametrize(
    "text",
    [
        "100: &a0 x\n" + "".join(f"{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)),
        "1: [a, b]\n",
        "one: cat\n",
        "- cat\n",
        "1: !!python/object/apply:os.getcwd []\n",
        "1: a\ufffd\n",
    ],
    ids=["alias bomb", "list", "no id", "no mapping", "tag", "lossy"],
)
def test_predictor_label_map_of_another_program_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "label_map.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"label_map\.yaml must be the label map of an export"):
        label_map_beside(tmp_path)


def test_graph_predictor_fills_batches_of_a_fixed_size() -> None:
    sizes = []

    def serve(images: tf.Tensor) -> Detections:
        sizes.append(len(images))
        scores = tf.cast(images[:, 0, 0, :1], tf.float32)
        return Detections(tf.zeros((len(images), 1, 4)), scores, scores, tf.ones(len(images), tf.int32))

    images = np.arange(5, dtype=np.uint8)[:, np.newaxis, np.newaxis, np.newaxis] * np.ones((1, 2, 2, 3), np.uint8)
    found = GraphPredictor(serve, batch_size=2).detect(images)
    assert (sizes, found.scores[:, 0].tolist(), found.boxes.shape) == ([2, 2, 2], [0, 1, 2, 3, 4], (5, 1, 4))
    assert GraphPredictor(serve, batch_size=1).detect(images[:2]).scores[:, 0].tolist() == [0, 1]


def test_predictor_reads_the_graphs_of_automls_model_inspect(tmp_path: Path) -> None:
    rows = [[0.0, 1.0, 2.0, 5.0, 7.0, 0.9, 3.0], [0.0, 0.0, 0.0, 4.0, 4.0, 0.5, 1.0], [0.0] * 7]
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        images = tf.compat.v1.placeholder(tf.uint8, [None, None, None, 3], name="image_arrays")
        found = tf.identity(tf.tile(tf.constant([rows]), [tf.shape(images)[0], 1, 1]), name="detections")
        ends = [{end.name: end} for end in (images, found)]
        tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "saved_model"), *ends)
        (tmp_path / "efficientdet-d0_frozen.pb").write_bytes(graph.as_graph_def().SerializeToString())
    for name in ("saved_model", "efficientdet-d0_frozen.pb"):
        boxes, scores, class_ids, num_valid = load_predictor(tmp_path / name).detect(PHOTO)
        assert num_valid.tolist() == [2, 2]
        assert boxes[1, 0].tolist() == [1.0, 2.0, 5.0, 7.0]
        assert (scores[0].tolist(), class_ids[0].tolist()) == (pytest.approx([0.9, 0.5, 0.0]), [3.0, 1.0, 0.0])

"""--class_weights, from the command line to the gradient."""

from pathlib import Path
from typing import Any

import cv2
import efficientdet
import numpy as np
import pytest
import tensorflow as tf
from efficientdet.anchors import anchor_boxes
from efficientdet.assigners import assign_targets
from efficientdet.types import GroundTruth, Targets

from efficientdet_pipeline.commands import MODES
from efficientdet_pipeline.data.class_weights import MOST, class_weights
from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.models.objective import detection_objective
from efficientdet_pipeline.options.parser import Reader
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.training.build import build_training_model
from efficientdet_pipeline.training.train_step import TrainStepModel
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject
from tfrmod.example import encode_example
from tfrmod.tfrecord_io import write_records

LABELS = {1: "Platelets", 2: "RBC", 3: "WBC"}
CONFIG = efficientdet.get_config(
    "efficientdet-d0", image_size=64, max_level=5, num_classes=2, fpn_cell_repeats=1, fpn_num_filters=8,
    box_class_repeats=1,
    backbone_config={"blocks": ["r1_k3_s11_e1_i32_o8_se0.25", *["r1_k3_s22_e1_i8_o8_se0.25"] * 4]},
)  # fmt: skip
CLASS_1, CLASS_2 = (2.0, 2.0, 30.0, 30.0), (34.0, 34.0, 62.0, 62.0)


def shards(*files: Path, labels: dict[int, str] = LABELS) -> Shards:
    return Shards(
        train=tuple(map(str, files)), val=(), num_train=1, num_classes=3, label_map=labels, max_instances=1
    )  # fmt: skip


def from_command_line(*arguments: str) -> str:
    reader = Reader({"train": MODES["train"].options_class()}, "train")
    return reader.build(reader.read(["--url_dataset=demo", *arguments], {}), TrainOptions).optimizer.class_weights


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("--class_weights=Platelets=4,RBC=0.5", (4.0, 0.5, 1.0)),
        ("--class_weights= WBC = 1e1 , ", (1.0, 1.0, 10.0)),
        ("--class_weights=", ()),
    ],
)
def test_class_weights_weights_are_read_by_name_and_ordered_by_class(
    argument: str, expected: tuple[float, ...]
) -> None:
    assert class_weights(from_command_line(argument), shards(), 3) == expected


def test_class_weights_names_may_hold_what_parts_them_from_their_weight() -> None:
    assert class_weights("a=b=2", shards(labels={1: "a=b"}), 1) == (2.0,)


def test_class_weights_classes_that_the_network_has_beyond_the_labels_weigh_one() -> None:
    assert class_weights("RBC=2", shards(), 5) == (1.0, 2.0, 1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "Platlets=4",
            r"must name classes of the data, as Platelets=4\. Received 'Platlets=4'; did you mean Platelets",
        ),
        ("RBC=1,car=2", r"Received 'car=2'; the classes are Platelets, RBC, WBC"),
        ("RBC", r"must name classes of the data.* Received 'RBC'"),
        ("RBC=many", r"must be numbers above 0\. Received 'RBC=many'; try RBC=2"),
        ("RBC=0", r"Received 'RBC=0'"),
        ("RBC=-1", r"Received 'RBC=-1'"),
        ("RBC=nan", r"Received 'RBC=nan'"),
        ("RBC=inf", r"Received 'RBC=inf'"),
        ("RBC=", r"Received 'RBC='"),
    ],
)
def test_class_weights_contradictions_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(OptionsError, match=sentence) as refused:
        class_weights(text, shards(), 3)
    assert refused.value.option == "class_weights"


def test_class_weights_auto_weighs_rare_classes_by_the_root_of_their_rarity(tmp_path: Path) -> None:
    encoded = cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8))[1].tobytes()
    objects = tuple(
        AnnotatedObject(name=LABELS[class_id], box=(1.0, 1.0, 20.0, 20.0), class_id=class_id)
        for class_id in [1] * 1 + [3] * 399
    )
    photo = AnnotatedImage(
        filename="1.png", objects=objects, height=64, width=64, encoded=encoded, format="png", source_id="1"
    )
    path = tmp_path / "train-00000-of-00001.tfrecord"
    write_records(path, [encode_example(photo)])
    # 200 objects per class on average, over the classes with objects.
    assert class_weights("auto", shards(path), 3) == (MOST, 1.0, pytest.approx((200 / 399) ** 0.5))


def learner(weights: tuple[float, ...]) -> TrainStepModel:
    options = compose(TrainOptions, url_dataset="none", batch_size=1, num_epochs=1, iou_loss_type="ciou")
    detector = efficientdet.build_model(CONFIG)
    objective = detection_objective(CONFIG, options.optimizer, class_weights=weights)
    return build_training_model(detector, objective, options, steps_per_epoch=1)


def gradients(weights: tuple[float, ...], targets: Targets) -> dict[str, np.ndarray]:
    """Returns, for each anchor, the gradient of the loss with respect to the network's outputs (a, k) and (a, 4)."""
    random = np.random.default_rng(0)

    def pyramid(channels: int) -> dict[int, Any]:
        sizes = {level: 64 >> level for level in range(CONFIG.min_level, CONFIG.max_level + 1)}
        return {
            level: tf.constant(random.standard_normal((1, size, size, 9 * channels)), tf.float32)
            for level, size in sizes.items()
        }

    outputs = {"class": pyramid(CONFIG.num_classes), "box": pyramid(4)}
    model = learner(weights)
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        loss = model.loss_terms(outputs, targets, model.normalizer(targets))["loss"]
    found = tape.gradient(loss, outputs)
    return {
        name: np.concatenate([found[name][level].numpy().reshape(-1, channels) for level in sorted(found[name])])
        for name, channels in (("class", CONFIG.num_classes), ("box", 4))
    }


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_class_weights_class_s_objects_move_the_network_by_its_weight(weight: float) -> None:
    truth = GroundTruth(tf.constant([[CLASS_1, CLASS_2]]), tf.constant([[1, 2]], tf.int32))
    targets = assign_targets(anchor_boxes(CONFIG), truth)
    own = [targets.class_index.numpy()[0] == index for index in range(2)]
    assert all(anchors.any() for anchors in own)
    plain, weighted = gradients((), targets), gradients((1.0, weight), targets)
    # At anchors of the class, its own logit and the box are weighted; the logits of other classes are unchanged.
    np.testing.assert_allclose(weighted["class"][own[1], 1], weight * plain["class"][own[1], 1], rtol=1e-5)
    np.testing.assert_allclose(weighted["box"][own[1]], weight * plain["box"][own[1]], rtol=1e-5)
    np.testing.assert_array_equal(weighted["class"][:, 0], plain["class"][:, 0])
    np.testing.assert_array_equal(weighted["class"][~own[1]], plain["class"][~own[1]])
    np.testing.assert_array_equal(weighted["box"][own[0]], plain["box"][own[0]])
    assert np.abs(plain["class"][own[1], 1]).min() > 0
    assert np.abs(plain["box"][own[1]]).max() > 0

"""Tests of detectors from configs: the published config trains, and errors name the fault."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import efficientdet
import keras
import numpy as np
import pytest
import yaml
from efficientdet.detectors.config import list_necks, read_parts
from efficientdet.detectors.detector import OneStageDetector, ground_truth_of
from efficientdet.types import GroundTruth
from keras import ops

# The config of tfdet's README; a test with the same keys and fewer channels always runs.
README = {
    "backbone": {
        "name": "resnetv2", "input_size": (512, 512), "nb_blocks": (3, 4, 6, 3), "width_factor": 1, "pool_size": 14,
        "crop_pct": 1.0,
    },
    "neck": {
        "name": "fpn", "num_nb_ins": 4, "num_nb_outs": 5, "filters": 256, "add_extra_convs": True,
        "extra_convs_on": "on_input", "relu_before_extra_convs": False,
    },
    "head": {
        "name": "AnchorHead",
        "anchor_config": {
            "octave_base_scale": 4, "scales_per_octave": 3, "ratios": [0.5, 1.0, 2.0], "strides": [8, 16, 32, 64, 128],
            "center_offset": 0,
        },
        "assigner": {"name": "max_iou_assigner", "pos_iou_thr": 0.5, "neg_iou_thr": 0.4, "min_pos_iou": 0},
        "sampler": {"name": "pseudo"},
        "bbox_encode": {"name": "deltaxywh", "scale_factors": [1.0, 1.0, 1.0, 1.0]},
        "act_cfg": "relu",
        "num_classes": 20,
        "loss_cls": {"name": "focalloss", "use_sigmoid": True, "loss_weight": 1.0},
        "loss_bbox": {"name": "SmoothL1Loss", "beta": 1.0 / 9.0, "loss_weight": 1.0},
        "train_cfg": {"batch_size": 4},
    },
}  # fmt: skip


def small(**changes: dict) -> dict:
    """Returns the config with fewer channels and without keys that have no effect."""
    config = copy.deepcopy(README)
    config["backbone"] = {"name": "resnetv2", "input_size": [64, 64], "nb_blocks": [1, 1, 1, 1],
                          "nb_channels": [128, 128, 128, 128], "stem_width": 32}  # fmt: skip
    config["neck"]["filters"] = 32
    config["head"].pop("train_cfg")
    config["head"] |= {"filters": 32, "num_heads": 1}
    for part, fields in changes.items():
        config[part] = config[part] | fields if isinstance(fields, dict) and "name" not in fields else fields
    return config


def batch(size: int = 64, count: int = 2) -> dict[str, np.ndarray]:
    """Returns a batch in tfdet's format; the second object is padding with an invalid label."""
    random = np.random.RandomState(0)
    return {
        "image": random.normal(size=(count, size, size, 3)).astype(np.float32),
        "bboxes": np.float32([[[4, 4, 40, 40], [0, 0, 0, 0]]] * count),
        "labels": np.int32([[[3], [-1]]] * count),
        "mask": np.int32([[[1], [0]]] * count),
    }


def test_build_detector_of_the_readme_keys_trains_with_a_partial_batch() -> None:
    config = small()
    config["backbone"] |= {"pool_size": 14, "crop_pct": 1.0}
    config["head"]["train_cfg"] = {"batch_size": 4}
    before = copy.deepcopy(config)
    with pytest.warns(UserWarning, match="no effect") as warned:
        detector = efficientdet.build_detector(config)
    assert sorted(str(warning.message).split(" ")[0] for warning in warned) == ["backbone.pool_size,", "head.train_cfg"]
    assert config == before
    assert detector.levels == range(3, 8)
    detector.compile(keras.optimizers.SGD(0.003, momentum=0.9))
    losses = [detector.train_on_batch(batch(), return_dict=True) for _ in range(5)]
    assert losses[-1]["loss"] < 0.9 * losses[0]["loss"]
    assert losses[0].keys() == {"loss", "class_loss", "box_loss", "reg_l2_loss"}
    # Another number of images than train_cfg has.
    assert np.isfinite(detector.train_on_batch(batch(count=3), return_dict=True)["loss"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_build_detector_of_the_readme_trains_as_it_stands() -> None:
    detector = efficientdet.build_detector(README)
    assert detector.image_size == (512, 512)
    detector.compile(keras.optimizers.Adam(1e-4))
    losses = [detector.train_on_batch(batch(512, 1), return_dict=True)["loss"] for _ in range(4)]
    assert losses[-1] < losses[0]


PARTS = {
    "atss, quality focal, giou": {
        "head": {"assigner": {"name": "atss_assigner"}, "loss_cls": {"name": "qualityfocalloss"},
                 "loss_bbox": {"name": "giouloss", "loss_weight": 2.0}}
    },
    "sim_ota, ciou, norms": {
        "head": {"assigner": {"name": "sim_ota_assigner"}, "loss_bbox": {"name": "ciouloss"}, "norm_cfg": "batch_norm",
                 "separable_conv": True},
        "neck": {"norm_layer": "batch_norm", "act_layer": "relu"},
    },
    "random sampler, factors": {
        "head": {"sampler": {"name": "random", "num": 64}, "bbox_encode": {"scale_factors": [10, 10, 5, 5],
                 "name": "deltaxywh"}}
    },
    "efficientnet, bifpn": {
        "backbone": {"name": "efficientnet-lite0", "input_size": [64, 64]}, "neck": {"name": "bifpn", "filters": 32},
    },
    "efficientnet-b1, vfpn": {
        "backbone": {"name": "efficientnet-b1", "input_size": [64, 64]},
        "neck": {"name": "vfpn", "filters": 16, "paths": 2},
    },
    "keras application": {"backbone": {"name": "MobileNetV2", "input_size": [64, 64]}, "neck": {"num_nb_ins": 3}},
}  # fmt: skip


@pytest.mark.parametrize("name", PARTS)
def test_build_detector_of_other_parts(name: str) -> None:
    detector = efficientdet.build_detector(small(**PARTS[name]))
    images = batch()["image"]
    outputs = detector(images, training=True)
    terms = detector.losses(outputs, ground_truth_of(batch()))
    assert all(np.isfinite(float(value)) for value in terms.values()), terms
    assert float(terms["loss"]) == pytest.approx(sum(float(terms[key]) for key in terms if key != "loss"), rel=1e-5)
    assert float(terms["class_loss"]) > 0
    assert float(terms["box_loss"]) > 0
    candidates = detector.decode(outputs)
    assert candidates.boxes.shape == (2, candidates.scores.shape[1], 4)
    assert candidates.scores.shape[2] == 20


def test_build_detector_from_yaml_and_saved(tmp_path: Path) -> None:
    path = tmp_path / "detector.yaml"
    path.write_text(yaml.safe_dump(small() | {"weight_decay": 0.0, "image_size": 64} | {
        "backbone": {key: value for key, value in small()["backbone"].items() if key != "input_size"}
    }))  # fmt: skip
    detector = efficientdet.build_detector(path)
    assert detector.image_size == (64, 64)
    images = batch()["image"]
    detector.save(tmp_path / "detector.keras")
    loaded = keras.saving.load_model(tmp_path / "detector.keras")
    assert isinstance(loaded, OneStageDetector)
    for level, expected in detector(images)["class"].items():
        np.testing.assert_allclose(
            ops.convert_to_numpy(loaded(images)["class"][level]), ops.convert_to_numpy(expected), atol=1e-5
        )
    terms = loaded.losses(loaded(images), ground_truth_of(batch()))
    assert float(terms["reg_l2_loss"]) == 0.0


def test_ground_truth_of_trusts_the_mask_alone() -> None:
    truth = ground_truth_of(batch())
    assert ops.convert_to_numpy(truth.class_ids).tolist() == [[4, 0], [4, 0]]
    with pytest.raises(ValueError, match="It lacks labels; it has bboxes, image, mask"):
        ground_truth_of({key: value for key, value in batch().items() if key != "labels"})


def test_build_detector_loss_of_padding_is_that_of_less_padding() -> None:
    detector = efficientdet.build_detector(small())
    given = batch()
    outputs = detector(given["image"])
    few = GroundTruth(given["bboxes"][:, :1], np.int32([[4], [4]]))
    many = GroundTruth(
        np.pad(given["bboxes"], ((0, 0), (0, 5), (0, 0)), constant_values=-1), np.int32([[4] + [0] * 6] * 2)
    )
    for name, value in detector.losses(outputs, few).items():
        assert float(detector.losses(outputs, many)[name]) == pytest.approx(float(value), rel=1e-6), name


def test_build_detector_without_objects_learns_background() -> None:
    detector = efficientdet.build_detector(small())
    terms = detector.losses(detector(batch()["image"]), GroundTruth(np.zeros((2, 0, 4)), np.zeros((2, 0))))
    assert float(terms["box_loss"]) == 0.0
    assert float(terms["class_loss"]) > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bakbone": {}}, "Unknown key of the detector's config 'bakbone'. Did you mean backbone"),
        ({"clip_gradients_norm": 10}, r"clip_gradients_norm is not part of a network; give it to the optimizer"),
        ({"neck": {"name": "fpm"}}, "Unknown name of neck 'fpm'. Did you mean fpn"),
        ({"neck": {"filter": 3}}, "Unknown key of neck 'filter'. Did you mean filters"),
        ({"head": {"num_class": 3}}, "Unknown key of head 'num_class'. Did you mean num_classes"),
        ({"head": {"name": "ancorhead"}}, "Unknown name of head 'ancorhead'. Did you mean anchorhead"),
        (
            {"head": {"assigner": {"name": "max_iou"}}},
            "head: Unknown name of assigner 'max_iou'. Did you mean max_iou_as",
        ),
        ({"head": {"assigner": {"name": "max_iou_assigner", "pos_iou": 0.5}}}, "Did you mean pos_iou_thr"),
        ({"head": {"loss_cls": {"name": "focalloss", "use_sigmoid": False}}}, "use_sigmoid must be true"),
        ({"head": {"test_cfg": {"post_processing": {"nms_configs": {"metod": "hard"}}}}}, "Did you mean method"),
        ({"head": {"train_cfg": {"batchsize": 3}}}, "Unknown key of train_cfg 'batchsize'. Did you mean batch_size"),
        (
            {"neck": {"start_level": 0}},
            r"levels P2 to P6, with strides \[4, 8, 16, 32, 64\], and the head reads strides",
        ),
        ({"neck": {"num_nb_outs": 4}}, r"The neck gives levels P3 to P6, with strides"),
        ({"neck": {"name": "bifpn", "max_level": 6}}, r"The neck gives levels P3 to P6, with strides"),
        ({"neck": {"name": "bifpn", "design": "pan"}}, "neck.design is set by neck.name"),
        ({"neck": {"name": "vfpn", "path": 3}}, "Unknown key of neck 'path'. Did you mean paths"),
        ({"neck": {"name": "bifpn", "paths": 3}}, "fpn_name=bifpn takes"),
        ({"image_size": 96}, r"image_size=96 and backbone.input_size=\(64, 64\) differ"),
        ({"weight_decay": -1}, "weight_decay must be a number of at least 0"),
        ({"class_names": ["a"]}, "class_names must have head.num_classes=20 entries"),
        ({"class_names": ["a", "b"] * 10}, "class_names must differ. Received a, b more than once"),
        ({"backbone": {"nb_blocks": [1, 1]}}, "backbone.nb_blocks must be a list of 4 items, each a whole number"),
        ({"backbone": "vgg"}, "Unknown name of backbone 'vgg'"),
    ],
)
def test_build_detector_refuses(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        efficientdet.build_detector(
            small() | changes
            if "head" not in changes and "neck" not in changes and not isinstance(changes.get("backbone"), dict)
            else small(**changes)
        )


def test_build_detector_importing_detectors_does_nothing_else(tmp_path: Path) -> None:
    modules = "efficientdet.detectors.build, efficientdet.heads.yolor_head, efficientdet.backbones.keras_application"
    code = f"import sys, {modules}; sys.exit('turtle' in sys.modules)"
    paths = os.pathsep.join(str(Path(path).resolve()) for path in sys.path if path)
    # The current folder stays empty: no folder of plots, no font.
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, env={**os.environ, "PYTHONPATH": paths})
    assert list(tmp_path.iterdir()) == []


def test_build_detector_needs_all_parts() -> None:
    with pytest.raises(ValueError, match=r"must have backbone, neck and head. It has no head"):
        read_parts({"backbone": "resnetv2", "neck": {"name": "bifpn"}})
    assert {"fpn", "fpn_graph", "bifpn", "vfpn", "pan", "qufpn"} <= set(list_necks())

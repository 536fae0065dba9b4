"""Tests of loading ImageNet checkpoints in TF1 format into classifiers and encoders."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from efficientdet.automl.variable_names import variable_names
from efficientdet.checkpoint.imagenet import load_classifier, load_encoder
from efficientdet.checkpoint.tf_bundle import AVERAGE
from efficientdet.classifier import ClassifierConfig, build_classifier
from efficientdet.errors import CheckpointError
from efficientdet.unet import UNetConfig, build_unet

NAME = "efficientnet-lite0"


def classifier(classes: int) -> Any:
    return build_classifier(ClassifierConfig(backbone_name=NAME, num_classes=classes))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """Writes raw and averaged weights for 12 classes in the format of automl's TF1 checkpoints."""
    values = {name: np.asarray(variable) for name, variable in variable_names(classifier(12)).items()}
    entries: dict[str, Any] = {"global_step": np.int64(1)}
    for name, value in values.items():
        entries[name], entries[name + AVERAGE] = value + 1, value
    prefix = tmp_path_factory.mktemp("imagenet") / "model.ckpt"
    names = sorted(entries)
    tensors = [tf.constant(entries[name]) for name in names]
    tf.raw_ops.SaveV2(prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors)
    return prefix, values


def test_load_classifier_takes_every_average(bundle: tuple[Path, dict[str, np.ndarray]]) -> None:
    prefix, values = bundle
    assert {f"{NAME}/head/conv2d/kernel", f"{NAME}/head/tpu_batch_normalization/gamma"} <= values.keys()
    assert {f"{NAME}/head/dense/kernel", f"{NAME}/head/dense/bias"} <= values.keys()
    model = classifier(12)
    report = load_classifier(model, prefix)
    assert (len(report.loaded), report.missing, report.skipped, report.left_over) == (247, (), {}, ())
    for name, variable in variable_names(model).items():
        np.testing.assert_array_equal(np.asarray(variable), values[name])


def test_load_classifier_with_new_classes_leaves_the_last_layer(bundle: tuple[Path, dict[str, np.ndarray]]) -> None:
    prefix, values = bundle
    model = classifier(3)
    with pytest.raises(CheckpointError, match="is for 12 classes, and the classifier for 3"):
        load_classifier(model, prefix)
    before = np.asarray(model.head.predict.kernel)
    report = load_classifier(model, prefix, new_classes=True)
    assert len(report.loaded) == 245
    np.testing.assert_array_equal(np.asarray(model.head.predict.kernel), before)
    np.testing.assert_array_equal(np.asarray(model.head.conv.kernel), values[f"{NAME}/head/conv2d/kernel"])


def test_load_encoder_of_a_unet_and_of_another_network(bundle: tuple[Path, dict[str, np.ndarray]]) -> None:
    prefix, values = bundle
    unet = build_unet(UNetConfig(backbone_name=NAME))
    report = load_encoder(unet.backbone, NAME, prefix)
    assert len(report.loaded) == 240
    assert len(report.left_over) == 7
    np.testing.assert_array_equal(np.asarray(unet.backbone.stem_conv.kernel), values[f"{NAME}/stem/conv2d/kernel"])
    with pytest.raises(
        CheckpointError, match=r"must be a checkpoint of efficientnet-b0.*it looks like one of"
    ) as error:
        load_encoder(build_unet(UNetConfig()).backbone, "efficientnet-b0", prefix)
    assert str(error.value) == f"{error.value.finding} Build that network."
    with pytest.raises(CheckpointError, match="must be a checkpoint of efficientnet-b0"):
        load_classifier(build_classifier(ClassifierConfig(num_classes=12)), prefix)


def test_load_classifier_asks_for_a_head(tmp_path: Path, bundle: tuple[Path, dict[str, np.ndarray]]) -> None:
    _, values = bundle
    names = sorted(name for name in values if "/head/" not in name)
    prefix = tmp_path / "backbone"
    tensors = [tf.constant(values[name]) for name in names]
    tf.raw_ops.SaveV2(prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors)
    model = classifier(12)
    with pytest.raises(CheckpointError, match=r"holds only the backbone\. Load it with new_classes=True"):
        load_classifier(model, prefix)
    assert len(load_classifier(model, prefix, new_classes=True).loaded) == 240

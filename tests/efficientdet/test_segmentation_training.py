"""Tests of the segmentation training model: fit, tracked terms, frozen encoder."""

import keras
import numpy as np
from efficientdet.segmentation_losses import SegmentationLossOptions, parse_loss
from efficientdet.segmentation_training import SegmentationTrainingModel
from efficientdet.unet import UNetConfig, build_unet


def test_segmentation_training_fit_lowers_the_loss_and_a_frozen_encoder_stays() -> None:
    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, (2, 1, 1)).repeat(32, axis=1).repeat(32, axis=2)
    labels[:, :, 16:] = 1 - labels[:, :, 16:]
    images = labels[..., None] * np.ones(3, np.float32) + 0.1 * generator.normal(size=(2, 32, 32, 3))
    labels[:, :4] = 255
    network = build_unet(UNetConfig(backbone_name="efficientnet-b0"))
    network.backbone.trainable = False
    before = [np.asarray(weight) for weight in network.backbone.weights]
    options = SegmentationLossOptions(terms=parse_loss("bce+0.5*dice"))
    model = SegmentationTrainingModel(network, options, weight_decay=1e-5)
    model.compile(keras.optimizers.Adam(3e-3), jit_compile=False)
    history = model.fit(images.astype("float32"), labels, batch_size=2, epochs=4, verbose=0).history
    assert history.keys() == {"loss", "bce_loss", "dice_loss", "reg_l2_loss"}
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    expected = history["bce_loss"][0] + 0.5 * history["dice_loss"][0] + history["reg_l2_loss"][0]
    assert abs(history["loss"][0] - expected) < 1e-5
    for weight, value in zip(network.backbone.weights, before, strict=True):
        np.testing.assert_array_equal(np.asarray(weight), value)

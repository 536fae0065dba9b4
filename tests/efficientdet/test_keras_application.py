"""Tests of keras.applications backbones: one feature map per level, and their normalization."""

import numpy as np
import pytest
from efficientdet.backbones.keras_application import KerasApplicationPart, application_names
from efficientdet.detectors.config import list_backbones, read_backbone

# Networks that are built in seconds; the others are marked slow.
SMALL = ("MobileNetV2", "ResNet50V2", "EfficientNetV2B0")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SMALL else pytest.mark.slow) for name in application_names()]
)
def test_keras_application_gives_levels_2_to_5(name: str) -> None:
    backbone = KerasApplicationPart(application=name, input_size=(128, 128)).build()
    maps = backbone(np.zeros((1, 128, 128, 3), np.float32))
    assert {3, 4, 5} <= maps.keys()
    assert backbone.channels == {level: x.shape[-1] for level, x in maps.items()}
    for level, x in maps.items():
        assert abs(x.shape[1] - 128 / 2**level) <= 2 + 128 / 2**level / 4, (level, x.shape)


def test_keras_application_normalization() -> None:
    assert KerasApplicationPart(application="EfficientNetV2B0").normalization == ((0.0,) * 3, (1.0,) * 3)
    assert KerasApplicationPart(application="MobileNetV2").normalization == ((127.5,) * 3, (127.5,) * 3)
    assert KerasApplicationPart(application="DenseNet121").normalization[0] == (123.675, 116.28, 103.53)
    assert KerasApplicationPart(application="ResNet50").normalization[0] == (123.68, 116.779, 103.939)
    assert KerasApplicationPart(application="ResNet50V2").normalization[0] == (127.5,) * 3


def test_keras_application_says_how_to_get_weights_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("URL fetch failure: no route to host")

    monkeypatch.setattr(keras.utils, "get_file", offline)
    monkeypatch.setattr("keras.src.applications.mobilenet_v2.file_utils.get_file", offline)
    part = KerasApplicationPart(application="MobileNetV2", input_size=(128, 128), weights="imagenet")
    with pytest.raises(ValueError, match=r"The weights 'imagenet' of MobileNetV2 cannot be loaded \(URL fetch failure"):
        part.build()


def test_read_backbone_finds_applications_by_name() -> None:
    assert read_backbone({"name": "MobileNetV2"}).application == "MobileNetV2"
    assert {"mobilenetv2", "resnetv2", "efficientnet-b0", "resnetv2_50x1_bitm"} <= set(list_backbones())
    with pytest.raises(ValueError, match="Did you mean mobilenetv2"):
        read_backbone("mobilenetv22")
    with pytest.raises(ValueError, match=r"Unknown key of backbone 'weight'. Did you mean weights"):
        read_backbone({"name": "MobileNetV2", "weight": "imagenet"})
    with pytest.raises(ValueError, match="input_size must be 32 or more"):
        read_backbone({"name": "MobileNetV2", "input_size": [16, 16]})

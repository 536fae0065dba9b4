"""Tests of classifiers: published numbers of parameters, and dropout as a function of seed and step."""

import numpy as np
import pytest
from efficientdet.classifier import Classifier, ClassifierConfig, build_classifier

PARAMETERS = {  # tensorflow/tpu and keras.applications, without the latter's seven numbers of normalization.
    "efficientnet-b0": 5_330_564,
    "efficientnet-b1": 7_856_232,
    "efficientnet-b2": 9_177_562,
    "efficientnet-b3": 12_320_528,
    "efficientnet-b4": 19_466_816,
    "efficientnet-b5": 30_562_520,
    "efficientnet-b6": 43_265_136,
    "efficientnet-b7": 66_658_680,
    "efficientnet-lite0": 4_694_024,
}


@pytest.mark.parametrize("name", ["efficientnet-b0", "efficientnet-b2", "efficientnet-lite0"])
def test_build_classifier_has_the_published_parameters(name: str) -> None:
    assert build_classifier(ClassifierConfig(backbone_name=name)).count_params() == PARAMETERS[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", PARAMETERS)
def test_classifier_every_classifier_has_the_published_parameters(name: str) -> None:
    assert build_classifier(ClassifierConfig(backbone_name=name)).count_params() == PARAMETERS[name]


def test_classifier_takes_any_size_and_survives_its_config() -> None:
    model = build_classifier(ClassifierConfig(num_classes=7, backbone_name="efficientnet-lite0"))
    assert model(np.zeros((2, 50, 33, 3), np.float32)).shape == (2, 7)
    twin = Classifier.from_config(model.get_config())
    assert twin.config == model.config
    assert [weight.shape for weight in twin.weights] == [weight.shape for weight in model.weights]


def test_classifier_dropout_is_a_function_of_seed_and_step() -> None:
    model = build_classifier(ClassifierConfig(num_classes=5, dropout=0.5))
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    features = np.asarray(model.backbone(images)[5])
    head = model.head

    def logits(step: int) -> np.ndarray:
        return np.asarray(head(features, seed=np.array([1, step], np.uint32), training=True))

    np.testing.assert_array_equal(logits(3), logits(3))
    assert not np.allclose(logits(3), logits(4))
    # Dropout keeps the mean.
    many = np.mean([head(features, seed=np.array([1, n], np.uint32), training=True) for n in range(60)], axis=0)
    plain = np.asarray(head(features, training=True))
    assert np.abs(many - plain).max() < 0.5 * np.abs(logits(3) - plain).max()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_classes": 1}, "num_classes must be 2 or more"),
        ({"dropout": 1.0}, "dropout must be from 0 to below 1"),
        ({"backbone_name": "b0"}, "Unknown network 'b0'"),
    ],
)
def test_classifier_config_refuses(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ClassifierConfig(**options)

"""Weights of ours name the anchors and classes that they were trained with, and another network is warned of them."""

from pathlib import Path

import pytest
import yaml

from efficientdet_pipeline.models.build import Network, describe_network
from efficientdet_pipeline.models.pretrained_network import warn_of_other_network
from efficientdet_pipeline.options.hparams import read_hparams
from efficientdet_pipeline.options.label_map import read_label_map
from efficientdet_pipeline.options.training import TrainOptions

OWN = {"image_size": "352x288", "anchor_scale": 2.59, "aspect_ratios": [0.88, 1.1, 1.4], "num_classes": 2}
CLASSES = {1: "cat", 2: "wild dog"}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    content = {"name": "efficientdet-d0", **OWN, "label_map": CLASSES, "batch_size": 8}
    (tmp_path / "hparams_config.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return tmp_path / "model.weights.h5"


def network(overrides: dict[str, object], classes: dict[int, str]) -> Network:
    return describe_network("efficientdet-d0", {"num_classes": len(classes), **overrides}, classes)


def test_the_same_network_is_not_worth_a_word(weights: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="absl"):
        for place in (weights, weights.parent):
            warn_of_other_network(network(OWN, CLASSES), str(place))
        warn_of_other_network(network(OWN, {1: "car", 2: "bus"}), str(weights))
    assert caplog.messages == []


def test_other_anchors_and_sizes_are_named_with_the_options_that_keep_them(
    weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="absl"):
        warn_of_other_network(network({"resize": "stretch"}, CLASSES), str(weights))
    warning, note = caplog.messages
    assert "resize=letterbox,aspect_ratios=[0.88,1.1,1.4],anchor_scale=2.59 (" in warning
    flag = "--hparams='aspect_ratios=[0.88,1.1,1.4],anchor_scale=2.59' --resize=letterbox."
    assert warning.endswith(flag)
    assert "at 352x288 px, and this network has 512x512; --image_size=352x288" in note
    advised = read_hparams("aspect_ratios=[0.88,1.1,1.4],anchor_scale=2.59", "--hparams", TrainOptions).network
    caplog.clear()
    warn_of_other_network(network({"image_size": "352x288", **advised}, CLASSES), str(weights))
    assert caplog.messages == []


def test_moved_class_ids_are_named_with_their_label_map(weights: Path, caplog: pytest.LogCaptureFixture) -> None:
    warn_of_other_network(network(OWN, {1: "wild dog", 2: "cat"}), str(weights))
    (warning,) = caplog.messages
    assert "wild dog was 2 and is 1, cat was 1 and is 2" in warning
    assert "--label_map='{1: cat, 2: wild dog}'" in warning
    assert read_label_map("{1: cat, 2: wild dog}", source="--label_map") == CLASSES


@pytest.mark.parametrize("content", [None, "a: [", "name: efficientdet-d0\nanchor_scale: -1\n", "name: other\n"])
def test_weights_without_a_description_are_not_compared(
    weights: Path, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    place = weights.parent / "hparams_config.yaml"
    place.unlink()
    if content is not None:
        place.write_text(content, encoding="utf-8")
    warn_of_other_network(network(OWN, CLASSES), str(weights))
    assert caplog.messages == []

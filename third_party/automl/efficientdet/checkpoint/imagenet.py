"""ImageNet checkpoints into classifiers, and encoders out of any checkpoint that has the backbone."""

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import keras

from efficientdet.backbones.efficientnet import EfficientNet
from efficientdet.checkpoint.load import LoadReport, load_checkpoint, opened_checkpoint
from efficientdet.checkpoint.locate import find
from efficientdet.errors import CheckpointError, CheckpointMismatchError

if TYPE_CHECKING:
    from efficientdet.classifier import Classifier, ClassifierHead
    from efficientdet.model import Detector

Place = str | os.PathLike[str]


@dataclass(frozen=True)
class _EncoderConfig:
    """What the reader of checkpoints asks of a config."""

    name: str
    backbone_name: str
    num_classes: int = 1
    num_anchors: int = 1
    min_level: int = 3


class _Encoder(keras.Model):
    """A backbone where the reader of checkpoints expects it."""

    head: "ClassifierHead | None" = None

    def __init__(self, backbone: EfficientNet, backbone_name: str) -> None:
        super().__init__()
        self.backbone = backbone
        self.config = _EncoderConfig(backbone_name, backbone_name)
        self.built = True


def load_encoder(
    backbone: EfficientNet,
    backbone_name: str,
    path: Place,
    *,
    use_average: bool = True,
    cache_dir: Place | None = None,
) -> LoadReport:
    """Loads the weights of a backbone, such as `UNet.backbone`, and returns what was loaded.

    Args:
      backbone: built.
      backbone_name: what it is, such as efficientnet-b0.
      path: an ImageNet checkpoint, or one of a detector with this backbone; any place that
        `load_checkpoint` takes.
      use_average: as for `load_checkpoint`.
      cache_dir: likewise.

    Raises:
      CheckpointError: damaged, or of another backbone, which is named. The backbone is unchanged.
      FileNotFoundError: nothing is at that place.
    """
    encoder = cast("Detector", _Encoder(backbone, backbone_name))
    return load_checkpoint(encoder, path, use_average=use_average, cache_dir=cache_dir)


def load_classifier(
    classifier: "Classifier",
    path: Place,
    *,
    new_classes: bool = False,
    use_average: bool = True,
    cache_dir: Place | None = None,
) -> LoadReport:
    """Loads an ImageNet checkpoint into a classifier and returns what was loaded.

    Args:
      classifier: from `build_classifier`.
      path: any place that `load_checkpoint` takes.
      new_classes: whether the last layer stays random, to be trained on other classes.
      use_average: as for `load_checkpoint`.
      cache_dir: likewise.

    Raises:
      CheckpointError: damaged, of another network, without a head, or with another number of classes. The
        classifier is unchanged.
      FileNotFoundError: nothing is at that place.
    """
    scope = f"{classifier.config.backbone_name}/head"
    model = cast("Detector", classifier)
    found = find(path, cache_dir)
    with opened_checkpoint(found, model, use_average) as contents:
        head = {name: contents.shapes[key] for name, key in contents.keys.items() if name.startswith(f"{scope}/")}
        knows_backbone = len(head) < len(contents.keys)
    exclude = re.escape(f"{scope}/dense/") if new_classes else None
    kernel = head.get(f"{scope}/dense/kernel")
    classes = classifier.config.num_classes
    if knows_backbone and not new_classes:
        if kernel is None:
            raise CheckpointError(
                f"{found.path} must hold the last layer of {classifier.config.name}. It holds the backbone alone; load "
                "it with new_classes=True and train the last layer, or take an ImageNet checkpoint."
            )
        if kernel[-1] != classes and kernel[:-1] == tuple(classifier.head.predict.kernel.shape[:-1]):
            raise CheckpointMismatchError(
                f"{found.path} is for {kernel[-1]} classes, and the classifier for {classes}. Build it with "
                f"num_classes={kernel[-1]}, or load with new_classes=True and train the last layer."
            )
    if knows_backbone and not head:
        exclude = re.escape(f"{scope}/")
    return load_checkpoint(model, found.path, exclude=exclude, use_average=use_average, cache_dir=cache_dir)

"""Loading of ImageNet checkpoints into classifiers, and of backbones from any checkpoint."""

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
    """Config fields that the reader of checkpoints uses."""

    name: str
    backbone_name: str
    num_classes: int = 1
    num_anchors: int = 1
    min_level: int = 3


class _Encoder(keras.Model):
    """A model with only a backbone, for the reader of checkpoints."""

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
      backbone_name: its name, such as efficientnet-b0.
      path: an ImageNet checkpoint, or one of a detector with this backbone; any location that
        `load_checkpoint` accepts.
      use_average: as in `load_checkpoint`.
      cache_dir: as in `load_checkpoint`.

    Raises:
      CheckpointError: it is damaged, or has another backbone, which the message names. The backbone is unchanged.
      FileNotFoundError: the location does not exist.
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
      path: any location that `load_checkpoint` accepts.
      new_classes: whether the last layer stays random, to be trained on other classes.
      use_average: as in `load_checkpoint`.
      cache_dir: as in `load_checkpoint`.

    Raises:
      CheckpointError: it is damaged, belongs to another network, or has no head or another number of classes. The
        classifier is unchanged.
      FileNotFoundError: the location does not exist.
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
                f"{found.path} must hold the last layer of {classifier.config.name}. It holds only the backbone.",
                advice="Load it with new_classes=True and train the last layer, or use an ImageNet checkpoint.",
            )
        if kernel[-1] != classes and kernel[:-1] == tuple(classifier.head.predict.kernel.shape[:-1]):
            raise CheckpointMismatchError(
                f"{found.path} is for {kernel[-1]} classes, and the classifier for {classes}.",
                advice=f"Build it with num_classes={kernel[-1]}, or load with new_classes=True and train the last "
                "layer.",
            )
    if knows_backbone and not head:
        exclude = re.escape(f"{scope}/")
    return load_checkpoint(model, found.path, exclude=exclude, use_average=use_average, cache_dir=cache_dir)

"""Image classification: class names, and the top classes of each image."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from efficientdet_pipeline.errors import DataError, MissingError

_SHIPPED = Path(__file__).with_name("imagenet_names.txt")


class ClassScore(NamedTuple):
    """A predicted class of an image."""

    column: int
    """Column of the classifier, from 0."""
    name: str
    score: float
    """Probability, 0 to 1."""


def imagenet_names() -> tuple[str, ...]:
    """Returns the names of ImageNet's 1000 classes by column: the first WordNet synonym of each."""
    lines = _SHIPPED.read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


def read_class_names(path: str | Path, num_classes: int) -> tuple[str, ...]:
    """Returns the names of a classifier's columns from a file.

    Supported are JSON objects from column to name (the labels_map.txt published
    with EfficientNet) or to [id, name] (Keras's class index), JSON lists, and
    text files with a name per line, where # starts a comment. One name more than
    there are columns is accepted only if the first is "background".

    Args:
      path: the file, UTF-8.
      num_classes: columns of the classifier.

    Raises:
      MissingError: the file does not exist.
      DataError: the format is unknown, or the number of names is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingError(f"The file of class names must exist. Received {path}, which does not exist or is a folder.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        names = _names_of_json(json.loads(text)) if text.lstrip().startswith(("{", "[")) else _names_of_lines(text)
    except (UnicodeDecodeError, ValueError) as error:
        raise DataError(
            f"{path} must be a JSON object from column to name, a JSON list of names, or a text file with a name per "
            "line. "
            f"It cannot be read: {error}."
        ) from error
    if len(names) == num_classes + 1 and names[0].lower() == "background":
        names = names[1:]
    if len(names) != num_classes:
        raise DataError(
            f"{path} must name the {num_classes} classes of the classifier. It names {len(names)}; take the list that "
            "the checkpoint was trained with."
        )
    return tuple(names)


def _names_of_json(value: Any) -> list[str]:
    if isinstance(value, dict):
        columns = {int(key): name for key, name in value.items()}
        if sorted(columns) != list(range(len(columns))):
            raise ValueError("its columns are not numbered from 0 without gaps")
        value = [columns[column] for column in range(len(columns))]
    names = [entry[1] if isinstance(entry, list) and len(entry) == 2 else entry for entry in value]
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError("a name is empty or not a string")
    return [name.strip() for name in names]


def _names_of_lines(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines() if not line.startswith("#")]
    while lines and not lines[-1]:
        lines.pop()
    if "" in lines:
        raise ValueError(f"line {lines.index('') + 1} is blank, which may or may not count as a class")
    return lines


def top_classes(logits: np.ndarray, names: Sequence[str], count: int = 5) -> list[ClassScore]:
    """Returns the top classes of one image, best first; ties by column.

    Args:
      logits: (k,), of the classifier.
      names: of the classifier's columns.
      count: number of classes; at most k are returned.

    Raises:
      ValueError: the number of names differs from that of the columns, or a logit is not finite.
    """
    logits = np.asarray(logits, np.float64)
    if logits.shape != (len(names),):
        raise ValueError(f"logits must be ({len(names)},), one per name. Received {logits.shape}.")
    if not np.isfinite(logits).all():
        raise ValueError("logits must be finite. Some are not: the weights or the image contain NaN or infinity.")
    chances = np.exp(logits - logits.max())
    return best_classes(chances / chances.sum(), names, count)


def best_classes(chances: np.ndarray, names: Sequence[str], count: int = 5) -> list[ClassScore]:
    """Returns the best classes of one image, best first; equal ones by column.

    Args:
      chances: (k,) probabilities.
      names: of the columns.
      count: how many; at most k are returned.
    """
    best = np.argsort(-chances, kind="stable")[:count]
    return [ClassScore(int(column), names[column], float(chances[column])) for column in best]


def image_classifier(
    classifier: Any, names: Sequence[str], *, image_size: int | None = None, advprop: bool = False
) -> Callable[[np.ndarray, int], list[ClassScore]]:
    """Returns a function from an image and a number to its best classes, pre-processed as in an evaluation on ImageNet.

    Args:
      classifier: from `efficientdet.classifier.build_classifier`.
      names: of the classifier's columns.
      image_size: side of the network's input; None is the published one.
      advprop: whether the checkpoint is one of AdvProp's, whose input is in -1…1.
    """
    import tensorflow as tf
    from efficientdet.imagenet import imagenet_config
    from efficientdet.preprocess_imagenet import imagenet_input

    config = imagenet_config(classifier.config.backbone_name, advprop=advprop)

    @tf.function(input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)])
    def logits_of(image: tf.Tensor) -> tf.Tensor:
        return classifier(imagenet_input(image, config, image_size)[tf.newaxis], training=False)[0]

    return lambda image, count: top_classes(logits_of(image).numpy(), names, count)

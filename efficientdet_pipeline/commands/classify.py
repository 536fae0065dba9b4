"""--mode=classify: classification of images with an ImageNet checkpoint."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import logging

from efficientdet_pipeline.console import say
from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.inference.classification import ClassScore, classify_images
from efficientdet_pipeline.inference.image_io import find_images, read_image
from efficientdet_pipeline.inference.imagenet_weights import load_classifier
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.imagenet import ClassifyOptions
from efficientdet_pipeline.options.parser import Sources


def run(options: ClassifyOptions, read: Sources, hparams: HparamsGiven) -> None:
    """Prints the top classes of each image."""
    del read, hparams
    images = find_images(options.input_image)
    loaded = load_classifier(options)
    paths: list[Path] = []
    scores = classify_images(
        loaded.model,
        _readable(images, paths),
        loaded.names,
        count=options.top,
        image_size=options.crop_size or None,
        advprop=options.network.advprop,
    )
    found: list[dict[str, object]] = []
    for number, classes in enumerate(scores):
        if options.json:
            found.append({"image": str(paths[number]), "classes": [each._asdict() for each in classes]})
        else:
            say(_text(paths[number], classes))
    if options.json:
        print(json.dumps(found, indent=1, ensure_ascii=False), flush=True)
    if not paths:
        raise DataError(f"None of the {len(images)} images of {options.input_image!r} is readable.")


def _readable(images: list[Path], paths: list[Path]) -> Iterator[np.ndarray]:
    """Yields the pixels of each readable image, and records its path."""
    for path in images:
        try:
            pixels = read_image(path)
        except DataError as error:
            if len(images) == 1:
                raise
            # One unreadable image must not stop the others.
            logging.warning("%s", error)
            continue
        paths.append(path)
        yield pixels


def _text(path: Path, classes: list[ClassScore]) -> str:
    return "\n".join([str(path), *(f"  {each.score:6.1%}  {each.name} ({each.column})" for each in classes)])

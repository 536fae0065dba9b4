"""--mode=classify: the best classes of images, by an ImageNet checkpoint or a classifier of one's own."""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from absl import logging

from efficientdet_pipeline.console import say
from efficientdet_pipeline.inference.classification import ClassScore
from efficientdet_pipeline.inference.image_io import find_images, read_images
from efficientdet_pipeline.inference.imagenet_weights import load_classifier, place_of
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.imagenet import ClassifyOptions, EfficientNetOptions
from efficientdet_pipeline.options.parser import Sources


def run(options: ClassifyOptions, read: Sources, hparams: HparamsGiven) -> None:
    """Prints the top classes of each image."""
    del read, hparams
    images = find_images(options.input_image)
    with _warnings_alone() if options.json else nullcontext():
        loaded = load_classifier(dataclasses.replace(options, network=_network(options)))
    found: list[dict[str, object]] = []
    for path, pixels in read_images(images, options.input_image):
        classes = loaded.best(pixels, options.top)
        if options.json:
            found.append({"image": str(path), "classes": [each._asdict() for each in classes]})
        else:
            say(_text(path, classes))
    if options.json:
        print(json.dumps(found, indent=1, ensure_ascii=False), flush=True)


def _network(options: ClassifyOptions) -> EfficientNetOptions:
    given = options.network
    if options.saved_model_dir and not given.path_ckpt:
        return dataclasses.replace(given, path_ckpt=options.saved_model_dir)
    return place_of(given, options.run)


@contextmanager
def _warnings_alone() -> Iterator[None]:
    """Leaves standard output to the JSON."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _text(path: Path, classes: list[ClassScore]) -> str:
    return "\n".join([str(path), *(f"  {each.score:6.1%}  {each.name} ({each.column})" for each in classes)])

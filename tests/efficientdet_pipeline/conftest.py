"""A run folder as training writes it, without the training: shards of drawn images, and a small untrained network."""

import json
import logging as standard_logging
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from absl import logging

from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject
from tfrmod.example import encode_example
from tfrmod.tfrecord_io import shard_name, write_records

NAMES = {1: "circle", 2: "square", 3: "star", 4: "triangle"}
Main = Callable[..., int]


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Main]:
    """Returns a function that runs the program in this process, in a temporary folder."""
    from efficientdet_pipeline.cli import main as run_program

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    handler, root, verbosity = signal.getsignal(signal.SIGTERM), standard_logging.getLogger(), logging.get_verbosity()
    level = logging.get_absl_logger().level
    listeners = list(root.handlers)
    yield lambda *arguments: int(run_program([str(argument) for argument in arguments]))
    signal.signal(signal.SIGTERM, handler)
    logging.set_verbosity(verbosity)
    logging.get_absl_logger().setLevel(level)
    for each in [each for each in root.handlers if each not in listeners]:
        root.removeHandler(each)
        each.close()


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder of a run that tests must not change; see `copied_run`."""
    from efficientdet.model import build_model

    from efficientdet_pipeline.demo_dataset import write_demo_dataset
    from efficientdet_pipeline.models.build import describe_network
    from efficientdet_pipeline.options.schema import compose
    from efficientdet_pipeline.options.training import TrainOptions
    from efficientdet_pipeline.runs import metadata
    from tfrmod import archive, convert

    place = tmp_path_factory.mktemp("toy")
    images = archive.extract(write_demo_dataset(place / "d.zip", num_images=12, image_size=(72, 64)), place / "images")
    folder = place / "runs" / "toy"
    convert.convert(images, folder / "tfrecords", convert.ConvertOptions(num_workers=1))
    overrides = {"image_size": 64, "num_classes": 4, "fpn_cell_repeats": 1, "box_class_repeats": 1}
    network = describe_network("efficientdet-lite0", overrides, NAMES)
    detector: Any = build_model(network.config)
    for name in ("best", "last"):
        checkpoint = folder / "checkpoints" / name
        checkpoint.mkdir(parents=True)
        detector.save_weights(checkpoint / "model.weights.h5")
        network.write(checkpoint / "hparams_config.yaml")
        (checkpoint / "checkpoint.json").write_text(json.dumps({"epoch": 1, "step": 1, "files": {}}))
    metadata.write_args(folder / "args.yaml", compose(TrainOptions, url_dataset="images"), {})
    metadata.update_json(folder / "metadata.json", {"mode": "traineval", "date": "now"})
    return folder


@pytest.fixture
def copied_run(toy_run: Path, tmp_path: Path) -> Path:
    """Returns a copy of the run in the test's own workspace."""
    return Path(shutil.copytree(toy_run, tmp_path / "runs" / "toy"))


class Printed(NamedTuple):
    """Output of a program."""

    out: str
    err: str


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[[], Printed]:
    """Returns a function that returns the output since its last call."""

    def read() -> Printed:
        printed = capsys.readouterr()
        return Printed(printed.out, printed.err)

    return read


HEIGHT, WIDTH = 24, 32


def encoded(number: int, extension: str = ".png") -> bytes:
    """Returns an image of a single colour whose red channel is its number."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[..., 2] = number  # OpenCV's order is blue, green, red.
    return cv2.imencode(extension, picture)[1].tobytes()


def annotated(number: int, objects: Sequence[AnnotatedObject] = ()) -> AnnotatedImage:
    return AnnotatedImage(
        filename=f"{number}.png",
        objects=tuple(objects),
        height=HEIGHT,
        width=WIDTH,
        encoded=encoded(number),
        format="png",
        source_id=str(number),
    )


def thing(class_id: int, *, is_crowd: bool = False, box: tuple[float, ...] = (6, 8, 18, 24)) -> AnnotatedObject:
    return AnnotatedObject(name=f"class {class_id}", box=box, class_id=class_id, is_crowd=is_crowd)


@pytest.fixture
def write_shards(tmp_path: Path) -> Callable[..., tuple[str, ...]]:
    """Returns a function: images of each shard → the shards' paths."""

    def write(*shards: Sequence[AnnotatedImage]) -> tuple[str, ...]:
        paths = [tmp_path / shard_name("train", index, len(shards)) for index in range(len(shards))]
        for path, images in zip(paths, shards, strict=True):
            write_records(path, (encode_example(image) for image in images))
        return tuple(str(path) for path in paths)

    return write


@pytest.fixture
def image() -> Callable[..., AnnotatedImage]:
    return annotated


@pytest.fixture
def box_of() -> Callable[..., AnnotatedObject]:
    return thing

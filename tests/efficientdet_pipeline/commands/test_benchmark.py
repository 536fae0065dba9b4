"""--mode=benchmark prints its results, and writes them."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from efficientdet_pipeline.benchmarking import loader
from efficientdet_pipeline.commands import benchmark
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options.benchmark import SUBJECTS, BenchmarkOptions
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.parser import Sources
from efficientdet_pipeline.options.schema import compose
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject
from tfrmod.example import encode_example
from tfrmod.tfrecord_io import write_records


@pytest.fixture
def pattern(tmp_path: Path) -> str:
    """Returns the glob of a shard of six images."""
    pixels = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    thing = AnnotatedObject(name="thing", box=(3.0, 4.0, 20.0, 30.0), class_id=1)
    photos = [
        AnnotatedImage(
            filename=f"{n}.jpg", objects=(thing,), height=48, width=64, encoded=pixels, format="jpeg", source_id=str(n)
        )
        for n in range(6)
    ]
    write_records(tmp_path / "train-00000-of-00001.tfrecord", map(encode_example, photos))
    return str(tmp_path / "train-*")


def test_the_loader_is_measured(
    pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(loader, "BATCHES", 2)
    options = compose(BenchmarkOptions,
        mode="benchmark", train_file_pattern=pattern, image_size="64", batch_size=2, rounds=1,
        output=str(tmp_path / "figures.json"), mosaic=0.5,
    )  # fmt: skip
    benchmark.run(options, Sources("benchmark", {}, {}), HparamsGiven())
    printed = capsys.readouterr().out
    assert "efficientdet-d0, 64x64 pixels, batches of 2, 6 images:" in printed
    assert "images per second" in printed
    assert "parsing and decoding" in printed
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["speeds"]["decoding alone"]["ratio"] == 1.0
    assert sum(figures["cpu_ms"].values()) > 0
    assert figures["records_skipped_per_second"] > 20_000


def test_every_subject_has_its_page() -> None:
    assert set(benchmark.WHAT) == set(SUBJECTS)


def test_an_unknown_subject_is_logged() -> None:
    with pytest.raises(OptionsError, match=r"what must be one of loader.*Received 'loadr'; did you mean loader"):
        compose(BenchmarkOptions, mode="benchmark", url_dataset="demo", what="loadr")

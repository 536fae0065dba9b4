"""--mode=benchmark --what=train: three speeds per batch size, and a stop before the first that does not fit."""

import json
from pathlib import Path
from typing import Any

import cv2
import efficientdet
import keras
import numpy as np
import pytest
import tensorflow as tf

from efficientdet_pipeline.benchmarking import machine, training
from efficientdet_pipeline.benchmarking.bottleneck import Speeds
from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.models.build import Network
from efficientdet_pipeline.options.benchmark import BenchmarkOptions
from efficientdet_pipeline.options.schema import compose, replace
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject
from tfrmod.example import encode_example
from tfrmod.tfrecord_io import write_records

STAGES = ["r1_k3_s11_e1_i32_o8_se0.25", *["r1_k3_s22_e1_i8_o8_se0.25"] * 4]


@pytest.fixture(scope="module")
def network() -> Network:
    config = efficientdet.get_config(
        "efficientdet-d0", image_size=64, max_level=5, num_classes=1, fpn_cell_repeats=1, fpn_num_filters=8,
        box_class_repeats=1, backbone_config={"blocks": STAGES},
    )  # fmt: skip
    return Network(config, {}, {1: "thing"})


@pytest.fixture
def shards(tmp_path: Path) -> Shards:
    encoded = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    thing = AnnotatedObject(name="thing", box=(3.0, 4.0, 20.0, 30.0), class_id=1)
    photo = AnnotatedImage(
        filename="1.jpg", objects=(thing,), height=48, width=64, encoded=encoded, format="jpeg", source_id="1"
    )
    path = tmp_path / "train-00000-of-00001.tfrecord"
    write_records(path, [encode_example(photo)] * 4)
    return Shards(
        train=(str(path),), val=(), num_train=4, num_classes=1, label_map={1: "thing"}, max_instances=1
    )  # fmt: skip


@pytest.fixture
def options(tmp_path: Path) -> BenchmarkOptions:
    return compose(BenchmarkOptions,
        mode="benchmark", what="train", url_dataset="none", workspace=str(tmp_path / "runs"), batch_sizes="1,2",
        rounds=1, benchmark_seconds=0.01,
    )  # fmt: skip


def fits_up_to(largest: int, host_bytes: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes measurements free, and those of more than `largest` images run out of memory."""

    def speeds(options: BenchmarkOptions, *rest: Any) -> Speeds:
        size = options.training.optimizer.batch_size
        if size > largest:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return Speeds(batch_size=size, loader=30.0, step=10.0, together=9.0, host_bytes=host_bytes)

    monkeypatch.setattr(training, "_speeds", speeds)


def test_training_three_speeds_are_measured_logged_and_drawn(
    options: BenchmarkOptions, shards: Shards, network: Network, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    options = replace(options, batch_sizes="2", steps_per_execution=2)
    figures = training.benchmark_training(options, shards, network, tmp_path)
    assert json.loads((tmp_path / "runs/benchmark-train.json").read_text()) == figures
    assert cv2.imread(str(tmp_path / "runs/benchmark-train.png")) is not None
    (only,) = figures["sweep"]
    assert only["batch_size"] == 2
    assert min(only[part] for part in ("loader", "step", "together")) > 0
    assert only["loader"] > only["step"]
    assert figures["best"]["bottleneck"] == "step"
    assert figures["settings"]["image_size"] == "64x64"
    printed = capsys.readouterr().out
    assert f"efficientdet-d0, 64x64, {keras.backend.backend()}, " in printed
    assert "The bottleneck is the step" in printed


def test_training_batch_that_does_not_fit_ends_the_sweep(
    options: BenchmarkOptions, shards: Shards, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    fits_up_to(1, None, monkeypatch)
    figures = training.benchmark_training(options, shards, network, tmp_path)
    assert [each["batch_size"] for each in figures["sweep"]] == [1]
    assert figures["ended"] == "A batch of 2 does not fit in memory: the sweep stops there."
    assert figures["ended"] in capsys.readouterr().out


def test_training_first_batch_that_does_not_fit_is_an_error(
    options: BenchmarkOptions, shards: Shards, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits_up_to(0, None, monkeypatch)
    with pytest.raises(OptionsError, match=r"smallest batch must fit in memory\. Received 1 images"):
        training.benchmark_training(options, shards, network, tmp_path)


def test_training_batch_that_the_system_would_end_us_for_is_not_tried(
    options: BenchmarkOptions, shards: Shards, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits_up_to(2, 10**15, monkeypatch)
    monkeypatch.setattr(machine, "host_bytes", lambda: 10**9)
    figures = training.benchmark_training(options, shards, network, tmp_path)
    assert [each["batch_size"] for each in figures["sweep"]] == [1]
    assert figures["ended"].startswith("A batch of 2 would need about 1999999.0 GB of memory")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"strategy": "multiworker"}, "what=train measures a single process"),
        ({"output": "figures.png"}, r"output must name the JSON file.*try figures\.json"),
    ],
)
def test_training_what_it_cannot_do_is_logged_before_anything_is_measured(
    options: BenchmarkOptions, shards: Shards, network: Network, tmp_path: Path, given: dict[str, Any], expected: str
) -> None:
    with pytest.raises(OptionsError, match=expected):
        training.benchmark_training(replace(options, **given), shards, network, tmp_path)

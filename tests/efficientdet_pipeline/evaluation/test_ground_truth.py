"""Ground truth is joined by meaning, and undefined metrics are reported before a training."""

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from efficientdet.types import Detections

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.evaluation import evaluator
from efficientdet_pipeline.evaluation.ground_truth import DetectorClasses, GroundTruth, ground_truth
from efficientdet_pipeline.models.build import describe_network
from tfrmod import manifest
from tfrmod.annotated_image import AnnotatedImage
from tfrmod.errors import DatasetError
from tfrmod.example import decode_example, encode_example
from tfrmod.tfrecord_io import read_records, write_records

NAMES = {1: "circle", 2: "square", 3: "star", 4: "triangle"}
CLASSES = DetectorClasses(num_classes=4, label_map=NAMES)
Main = Callable[..., int]
Said = Callable[[], Any]


@pytest.fixture
def val(toy_run: Path) -> list[Path]:
    return sorted((toy_run / "tfrecords").glob("val-*"))


def images_of(files: list[Path]) -> list[AnnotatedImage]:
    return [decode_example(record) for file in files for record in read_records(file)]


def write_shard(path: Path, images: list[AnnotatedImage]) -> Path:
    write_records(path, [encode_example(image) for image in images])
    return path


def write_json(path: Path, files: list[Path], ids: dict[str, int], *, first: int = 1, named: bool = True) -> str:
    """Writes the ground truth of shards as a COCO file with other ids of classes and images."""
    images, annotations = [], []
    for number, image in enumerate(reversed(images_of(files)), start=first):
        size = {"height": image.height, "width": image.width}
        images.append({"id": number, "file_name": Path(image.filename).name, **size})
        for thing in image.objects:
            y0, x0, y1, x1 = thing.box
            box = [x0, y0, x1 - x0, y1 - y0]
            annotations.append({"image_id": number, "category_id": ids[thing.name], "bbox": box, "area": thing.area})
    categories = [{"id": class_id, "name": name} for name, class_id in ids.items()] if named else []
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return str(path)


def score(truth: GroundTruth, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Returns the metrics of a detector that finds exactly the boxes of the shards."""
    images_there = images_of([Path(name) for name in truth.files])
    batches = iter(images_there if truth.numbers is None else [images_there[number] for number in truth.numbers])

    def detect(pixels: Any, scales: Any, sizes: Any) -> Detections:
        images = [next(batches) for _ in range(len(scales))]
        boxes, scores, class_ids = (
            np.zeros((len(images), 50, 4)),
            np.zeros((len(images), 50)),
            np.zeros((len(images), 50)),
        )
        for row, image in enumerate(images):
            for column, thing in enumerate(image.objects):
                boxes[row, column], scores[row, column] = thing.box, 0.9
                class_ids[row, column] = next(key for key, name in NAMES.items() if name == thing.name)
        return Detections(boxes, scores, class_ids, np.array([len(image.objects) for image in images]))

    monkeypatch.setattr(evaluator, "detector_function", lambda detector, config: detect)
    config = describe_network("efficientdet-lite0", {"image_size": 64, "num_classes": 4}, NAMES).config
    return evaluator.Evaluator(None, config, truth, label_map=NAMES, batch_size=2)()


@pytest.mark.parametrize(
    ("ids", "first"),
    [
        ({"circle": 1, "square": 2, "star": 3, "triangle": 4}, 1),
        ({"circle": 0, "square": 1, "star": 2, "triangle": 3}, 0),
        ({"triangle": 1, "star": 2, "square": 3, "circle": 4, "other": 5}, 1001),
    ],
    ids=["same", "from zero", "other order"],
)
def test_json_file_of_other_numbers_gives_the_right_ap(
    ids: dict[str, int], first: int, val: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = ground_truth(val, CLASSES, json_file=write_json(tmp_path / "val.json", val, ids, first=first))
    metrics = score(truth, monkeypatch)
    assert metrics["AP"] == pytest.approx(1.0)
    assert metrics["per_class"].keys() == set(NAMES.values())


def test_json_file_with_eval_samples_joins_the_chosen_images(
    val: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_json(tmp_path / "val.json", val, {name: class_id for class_id, name in NAMES.items()})
    truth = ground_truth(val, CLASSES, json_file=path, limit=1)
    assert len(truth.images or ()) == 1
    assert score(truth, monkeypatch)["AP50"] in (pytest.approx(1.0), -1.0)


def test_json_file_of_unnamed_numbers_out_of_range_is_refused(val: list[Path], tmp_path: Path) -> None:
    path = write_json(tmp_path / "v.json", val, {"circle": 0, "square": 1, "star": 2, "triangle": 3}, named=False)
    with pytest.raises(DataError, match="must be those of the network"):
        ground_truth(val, CLASSES, json_file=path)


def renumbered(images: list[AnnotatedImage], ids: dict[str, int], names: dict[str, str]) -> list[AnnotatedImage]:
    return [
        replace(
            image,
            objects=tuple(
                thing._replace(class_id=ids[thing.name], name=names.get(thing.name, thing.name))
                for thing in image.objects
            ),
        )
        for image in images
    ]


def test_shards_of_other_numbers_are_joined_by_name(
    val: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = {"triangle": 1, "star": 2, "square": 3, "circle": 4}
    shard = write_shard(tmp_path / "val.tfrecord", renumbered(images_of(val), ids, {}))
    metrics = score(ground_truth([shard], CLASSES), monkeypatch)
    assert metrics["AP"] == pytest.approx(1.0)


def test_shards_of_other_classes_are_refused(main: Main, toy_run: Path, val: list[Path], said: Said) -> None:
    ids = {name: class_id for class_id, name in NAMES.items()}
    cells = {"circle": "RBC", "square": "WBC", "star": "Platelets", "triangle": "none"}
    shard = write_shard(Path("other.tfrecord").resolve(), renumbered(images_of(val), ids, cells))
    assert main("--mode=eval", f"--model_dir={toy_run}", f"--val_file_pattern={shard}") == 65
    assert "must be those of the network: circle, square, star, triangle" in said().err


def test_one_source_id_for_all_is_found_before_a_training(
    main: Main, toy_run: Path, val: list[Path], said: Said
) -> None:
    train = [*(toy_run / "tfrecords").glob("train-*")]
    shard = write_shard(Path("v.tfrecord"), [replace(image, source_id="0") for image in images_of(train)])
    given = [f"--train_file_pattern={train[0]}", f"--val_file_pattern={shard}", "--batch_size=2", "--image_size=64"]
    assert main(*given, "--model_name=efficientdet-lite0", "--pretrained_ckpt=none", "--run_name=x") == 65
    printed = said()
    assert "unique image/source_id" in printed.err
    assert "epoch 1" not in printed.out
    assert not Path("runs/x").exists()


def test_compressed_shards_are_recognised(val: list[Path], tmp_path: Path) -> None:
    packed = tmp_path / "val.tfrecord"
    packed.write_bytes(gzip.compress(val[0].read_bytes()))
    with pytest.raises(DatasetError, match=r"without compression.*gzip.*gunzip -c"):
        ground_truth([packed], CLASSES)


def test_shards_whose_names_contradict_each_other_are_refused(val: list[Path], tmp_path: Path) -> None:
    ids = {name: class_id for class_id, name in NAMES.items()}
    swapped = {"circle": "star", "star": "circle", "square": "triangle", "triangle": "square"}
    other = write_shard(tmp_path / "b.tfrecord", renumbered(images_of(val), ids, swapped))
    with pytest.raises(DatasetError, match=r"The class id \d is .* in some records and"):
        manifest.count_files([*val, other])


def test_crowds_alone_are_nothing_to_learn_from(main: Main, toy_run: Path, said: Said) -> None:
    train = [*(toy_run / "tfrecords").glob("train-*")]
    crowds = [
        replace(image, objects=tuple(thing._replace(is_crowd=True) for thing in image.objects))
        for image in images_of(train)
    ]
    shard = write_shard(Path("t.tfrecord"), crowds)
    assert not manifest.has_boxes_to_learn([shard])
    given = ["--mode=train", f"--train_file_pattern={shard}", "--batch_size=2", "--nodoctor", "--pretrained_ckpt=none"]
    assert main(*given, "--run_name=x") == 65
    assert "--skip_crowd_during_training=false" in said().err


def test_a_validation_without_boxes_is_not_measurable(val: list[Path], tmp_path: Path) -> None:
    empty = write_shard(tmp_path / "e.tfrecord", [replace(image, objects=()) for image in images_of(val)])
    assert not ground_truth([empty], CLASSES).is_measurable
    assert ground_truth(val, CLASSES).is_measurable


def test_eval_of_a_run_whose_classes_were_renamed(main: Main, copied_run: Path, said: Said, val: list[Path]) -> None:
    outside = Path(shutil.copy(val[0], Path("val.tfrecord").resolve()))
    renamed = "--hparams=label_map={1:a,2:b,3:c,4:d}"
    assert main("--mode=eval", f"--model_dir={copied_run}", f"--val_file_pattern={outside}", renamed) == 0
    assert "a     " in said().out

"""--mode=doctor: printed text, written files and exit codes."""

import json
import logging as standard_logging
import os
import shlex
import signal
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import efficientdet
import numpy as np
import pytest
from absl import logging
from PIL import Image

from efficientdet_pipeline.cli import main
from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.doctor import quick_check
from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.models.build import describe_network
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.training import TrainOptions
from tfrmod import convert
from tfrmod.annotated_image import AnnotatedImage, AnnotatedObject
from tfrmod.example import encode_example
from tfrmod.tfrecord_io import write_records

BOX = (10, 10, 60, 60)


@pytest.fixture(autouse=True)
def door(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Restores signals, loggers, environment and working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", {**os.environ, "HOME": str(tmp_path)})
    handler, root, verbosity = signal.getsignal(signal.SIGTERM), standard_logging.getLogger(), logging.get_verbosity()
    listeners = list(root.handlers)
    yield
    signal.signal(signal.SIGTERM, handler)
    logging.set_verbosity(verbosity)
    for each in [each for each in root.handlers if each not in listeners]:
        root.removeHandler(each)


@pytest.fixture
def voc(tmp_path: Path) -> Callable[..., Path]:
    """Returns a function that writes 40 training and 20 validation images of two classes."""

    def write(*, faulty: bool = False) -> Path:
        folder = tmp_path / "photos"
        lists = folder / "ImageSets" / "Main"
        lists.mkdir(parents=True)
        for number in range(60):
            blocks = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(blocks).resize((96, 96)).save(folder / f"{number}.jpg")
            boxes = [("cat", BOX), ("dog", (20, 30, 70, 75)), *([("cat", BOX)] if faulty and number < 3 else [])]
            things = "".join(
                f"<object><name>{name}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax>"
                f"<ymax>{y1}</ymax></bndbox></object>"
                for name, (x0, y0, x1, y1) in boxes
            )
            (folder / f"{number}.xml").write_text(f"<annotation>{things}</annotation>")
        (lists / "train.txt").write_text("".join(f"{number}\n" for number in range(40)))
        (lists / "val.txt").write_text("".join(f"{number}\n" for number in range(40, 60)))
        return folder

    return write


def doctor(*arguments: str) -> int:
    return main(["--mode=doctor", "--num_workers=1", "--image_size=96", *arguments])


def test_clean_data_ends_with_0(voc: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(f"--url_dataset={voc()}") == 0
    told = capsys.readouterr()
    assert "60 images (40 train, 20 val), 120 boxes, 2 classes." in told.out
    assert told.out.endswith("No issues found.\n")
    assert told.err == ""


def test_warnings_end_with_3(voc: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(f"--data_dir={voc(faulty=True)}", "--detect_photos=3") == 3
    told = capsys.readouterr()
    assert " 1. warning: 3 × a box annotated twice (2.4% of 123 boxes) [box_twice]" in told.out
    assert told.err == "warning: No effect when checking images: --detect_photos.\n"


def test_a_report_does_not_replace_a_file_of_the_users_own(
    voc: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    report = Path("doctor.json")
    report.write_text('{"mine": 1}')
    assert doctor(f"--url_dataset={voc(faulty=True)}") == 2
    assert "report must name a file that does not exist" in capfd.readouterr().err
    assert report.read_text() == '{"mine": 1}'


def test_files_that_the_page_leaves_out_are_in_the_report(
    voc: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = voc()
    for number in range(5):
        (folder / f"{number}.jpg").write_bytes(b"no image")
    assert doctor(f"--url_dataset={folder}", "--report=found/all.json") == 3
    assert "Every file by name: found/all.json" in capsys.readouterr().out
    by_code = {each["code"]: each for each in json.loads(Path("found/all.json").read_text())["findings"]}
    assert len(by_code["image_undecodable"]["files"]) == 5
    assert not Path("doctor.json").exists()
    assert doctor(f"--url_dataset={folder}") == 3
    assert json.loads(Path("doctor.json").read_text())["findings"]
    assert doctor(f"--url_dataset={folder}", "--report=found/all.json/x.json") == 3
    assert "could not be written to found/all.json/x.json" in capsys.readouterr().err


def test_errors_end_with_65(voc: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = voc()
    for path in folder.glob("*.xml"):
        path.write_text("<annotation/>")
    assert doctor(f"--url_dataset={folder}") == 65
    assert " 1. error: 1 × a training split without any box" in capsys.readouterr().out


def test_a_label_map_from_0_is_an_option_to_fix(voc: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    Path("map.yaml").write_text("0: cat\n1: dog\n")
    assert doctor(f"--url_dataset={voc()}", "--label_map=map.yaml") == 2
    assert "it gives 'cat' the id 0, which is the background's; class ids start at 1" in capsys.readouterr().err


def test_json_is_all_that_is_printed(voc: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(f"--url_dataset={voc(faulty=True)}", "--json", "--fix=mended") == 3
    content = json.loads(capsys.readouterr().out)
    assert [each["code"] for each in content["findings"]] == ["box_twice"]
    assert content["mended"] == {
        **{"num_photos": 60, "num_boxes": 120, "num_left_out": 0, "num_boxes_dropped": 3, "num_moved": 0},
        "num_alike_kept": 0,
    }


def test_a_fixed_zip_is_clean(voc: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    with zipfile.ZipFile("photos.zip", "w") as archive:
        folder = voc(faulty=True)
        for path in sorted(folder.rglob("*.*")):
            archive.write(path, path.relative_to(folder))
    assert doctor("--url_dataset=photos.zip", "--fix=mended", "--cache_dir=cache") == 3
    told = capsys.readouterr().out
    assert "The corrected copy holds 60 images and 120 boxes." in told
    assert "--mode=doctor --url_dataset=mended" in told
    assert doctor("--url_dataset=mended") == 0


def test_the_copy_keeps_the_ids_of_classes(voc: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    Path("map.yaml").write_text("3: cat\n7: dog\n")
    folder = voc(faulty=True)
    doctor(f"--url_dataset={folder}", "--label_map=map.yaml", "--train_set=train", "--val_set=val", "--fix=mended")
    told = capsys.readouterr().out
    assert "Keep its class ids with --label_map=mended/label_map.yaml." in told
    command = "--url_dataset=mended --label_map=mended/label_map.yaml --train_set=train --val_set=val"
    assert f"--mode=doctor {command}" in told
    assert Path("mended/label_map.yaml").read_text() == "3: cat\n7: dog\n"
    assert doctor(*command.split()) == 0


def test_a_place_for_the_copy_that_is_taken(voc: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = voc()
    assert doctor(f"--url_dataset={folder}", f"--fix={folder}") == 2
    assert doctor(f"--url_dataset={folder}", f"--fix={folder / 'mended'}") == 2
    assert "outside the images" in capsys.readouterr().err
    assert not (folder / "mended").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Received nothing; give one of them"),
        (["--url_dataset=a.zip", "--run_dir=runs/x"], "Received 'a.zip' and 'runs/x'"),
        (["--run_dir=runs/x", "--fix=y"], "give the images by --url_dataset"),
        (["--url_dataset=a.zip", "--detect_photos=-1"], "detect_photos must be 0 or more"),
        (["--url_dataset=a.zip", "--max_instances_per_image=0"], "max_instances_per_image must be at least 1"),
    ],
)
def test_options_that_contradict(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(*arguments) == 2
    assert said in capsys.readouterr().err


def test_a_folder_that_is_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor("--run_dir=none") == 66
    assert "must be the folder of a trained run" in capsys.readouterr().err


def write_shard(path: Path, *class_ids: int) -> str:
    photo = (Path(path.parent) / "photo.jpg").resolve()
    Image.fromarray(np.zeros((96, 96, 3), np.uint8)).save(photo)
    things = tuple(AnnotatedObject(f"c{class_id}", tuple(map(float, BOX)), class_id) for class_id in class_ids)
    image = AnnotatedImage(
        filename="photo.jpg", objects=things, height=96, width=96, encoded=photo.read_bytes(), format="jpeg"
    )
    write_records(path, [encode_example(image)])
    return str(path)


def test_shards_with_ids_from_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard = write_shard(tmp_path / "train.tfrecord", 0, 1)
    assert doctor(f"--train_file_pattern={shard}", "--train_set=x") == 65
    told = capsys.readouterr()
    assert "1. error: 1 × a box whose class id is below 1 (50% of 2 boxes) [label_zero]" in told.out
    assert "The ids start at 0: each is one too low." in told.out
    assert "No effect when checking shards: --train_set." in told.err


def quick(monkeypatch: pytest.MonkeyPatch, shard: str) -> list[str]:
    """Returns the messages of the quick check before a training."""
    said: list[str] = []
    for name in ("info", "warning"):
        monkeypatch.setattr(logging, name, lambda text, *values: said.append(text % values))
    options = compose(
        TrainOptions,
        mode="train",
        train_file_pattern=shard,
        image_size="96",
        hparams="anchor_scale=9",
        run_name="mine",
    )
    shards = Shards(train=(shard,), val=(), num_train=1, num_classes=1, label_map={}, max_instances=1)
    network = describe_network("efficientdet-d0", {"image_size": 96}, {})
    quick_check.quick_check(options, shards, network)
    return said


def test_before_a_training_the_worst_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = write_shard(tmp_path / "train.tfrecord", 1, 2)
    said = quick(monkeypatch, shard)
    assert any("a box with two classes" in line for line in said)
    assert len(said) <= 1 + quick_check.MAX_ISSUES
    expected = ["--mode=doctor", f"--train_file_pattern={shard}", "--image_size=96", "--hparams=anchor_scale=9"]
    _, main, *given = shlex.split(said[-1].removeprefix("More: "))
    assert sorted(given) == sorted(expected)
    assert Path(main).name == "main.py"
    assert Path(main).is_file()


def test_before_a_training_what_is_learnt_in_vain_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"class id is below 1 .* --nodoctor trains anyway"):
        quick(monkeypatch, write_shard(tmp_path / "zero.tfrecord", 0, 1))
    with pytest.raises(DataError, match="a training split without any box"):
        quick(monkeypatch, write_shard(tmp_path / "empty.tfrecord"))


def test_a_trained_run(voc: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "runs" / "one"
    made = convert.convert(voc(), run / "tfrecords", convert.ConvertOptions(num_workers=1))
    (run / "args.yaml").write_text("tf_random_seed: 1\nbatch_size: 8\nimage_size: '64'\n")
    (run / "results.csv").write_text("epoch,step,loss\n1,5,2.0\n2,10,9.0\n")
    incident = {"step": 3, "epoch": 1, "kind": "spike", "loss": 80.0, "usual": 2.0}
    (run / "incidents.jsonl").write_text(json.dumps(incident) + "\n")
    assert doctor(f"--run_dir={run}", "--json", "--max_instances_per_image=3") == 3
    told = capsys.readouterr()
    assert "has no checkpoint: only its shards and losses are checked" in told.err
    spike = {each["code"]: each for each in json.loads(told.out)["findings"]}["loss_spike"]
    assert spike["detail"] == "step 3, epoch 1: 80 (usual 2). epoch 2: 2 → 9"
    assert len(spike["files"]) == 8
    assert all(file.endswith(".jpg (step 3)") for file in spike["files"])
    _write_checkpoint(run, made.label_map)
    assert doctor(f"--run_dir={run}", "--json", "--detect_photos=8") == 3
    found = {each["code"]: each for each in json.loads(capsys.readouterr().out)["findings"]}
    assert found["class_never_found"]["values"] == {"classes": ["cat", "dog"]}  # The network is untrained.


def _write_checkpoint(run: Path, label_map: dict[int, str]) -> None:
    from efficientdet_pipeline.models.build import describe_network

    network = describe_network(
        "efficientdet-d0",
        {"image_size": 64, "num_classes": 2, "fpn_cell_repeats": 1, "box_class_repeats": 1},
        label_map,
    )
    (run / "checkpoints" / "best").mkdir(parents=True)
    network.write(run / "checkpoints" / "best" / "hparams_config.yaml")
    efficientdet.build_model(network.config).save_weights(run / "checkpoints" / "best" / "model.weights.h5")

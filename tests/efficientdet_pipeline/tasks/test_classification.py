"""Classification task: options, and a whole run from folders of images to a report, an export and classes."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from small_class_networks import CLASSIFICATION, write_class_folders

import efficientdet_pipeline as edp
from efficientdet_pipeline.cli import main
from efficientdet_pipeline.errors import DataError, OptionsError
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.tasks import task_named
from efficientdet_pipeline.tasks.classification import augment_config
from efficientdet_pipeline.training.checkpoint_callback import CheckpointCallback
from tfrmod import manifest

SMALL = (
    *("--task=classification", "--model_name=efficientnet-lite0", "--image_size=32", "--pretrained_ckpt=none"),
    *("--optimizer=adam", "--learning_rate=0.03", "--batch_size=2"),
)


def options(**given: object) -> TrainOptions:
    return compose(TrainOptions, **{"url_dataset": "demo", "model_name": "efficientnet-lite0", **given})


def test_classification_task_follows_the_model_name() -> None:
    assert options().model.task_name == "classification"
    task = task_named("classification")
    assert task.image_size("efficientnet-lite2", options(), HparamsGiven()) == (260, 260)
    assert task.image_size("efficientnet-lite0", options(image_size="96"), HparamsGiven()) == (96, 96)
    with pytest.raises(OptionsError, match="must be one number"):
        task.image_size("efficientnet-lite0", options(image_size="96x64"), HparamsGiven())
    with pytest.raises(OptionsError, match=r"formats of a classification must be .* Received 'tflite_nms'"):
        task.image_size("efficientnet-lite0", options(formats="tflite_nms"), HparamsGiven())
    with pytest.raises(OptionsError, match="model_name of a classification must be one of"):
        task.image_size("efficientdet-d0", options(), HparamsGiven())


def test_classification_setup_of_a_description_is_that_network_again() -> None:
    setup = task_named("classification").setup_of_description(CLASSIFICATION.as_dict(), options(), max_instances=1)
    assert setup.network.config == CLASSIFICATION.config  # type: ignore[attr-defined]
    images, columns = setup.random_batch(2)
    assert (images.shape, columns.shape) == ((2, 64, 64, 3), (2,))
    with pytest.raises(ValueError, match="has no data"):
        setup.evaluator(setup.build_model())


def test_augment_config_takes_the_options_and_nothing_without_augment() -> None:
    config = augment_config(options(input_rand_vflip=True, max_rotation=10.0, crop_area_min=0.5, hsv_hue=0.1), 64)
    assert config is not None
    assert (config.vertical_flip, config.rotation, config.area_min, config.hsv_hue) == (0.5, 10.0, 0.5, 0.1)
    assert augment_config(options(augment=False), 64) is None


def test_classification_setup_names_classes_without_images(caplog: pytest.LogCaptureFixture) -> None:
    counts = {"train": {"cat": 4, "dog": 3, "cow": 0}, "val": {"cat": 1, "dog": 0, "cow": 2}}
    splits = {name: SimpleNamespace(num_images=7, boxes_per_class=each) for name, each in counts.items()}
    names = {1: "cat", 2: "dog", 3: "cow"}
    made = SimpleNamespace(splits=splits)
    shards: Any = SimpleNamespace(num_classes=3, label_map=names, recorded_names={}, made=made)
    task_named("classification").setup("efficientnet-lite0", options(), HparamsGiven(), shards)
    assert "No training image is of cow: the network cannot learn this." in caplog.text
    assert "No validation image is of dog: its recall is not known" in caplog.text


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a run of one epoch on images of three colors."""
    folder = tmp_path_factory.mktemp("classification")
    data = write_class_folders(folder / "data")
    arguments = [f"--data_dir={data}", f"--model_dir={folder / 'run'}", "--num_epochs=1", "--formats=frozen"]
    assert main([*SMALL, *arguments]) == 0
    return folder / "run"


def test_classification_run_writes_metrics_report_and_export(run_folder: Path) -> None:
    metrics = json.loads((run_folder / "metrics.json").read_text(encoding="utf-8"))
    assert list(metrics["per_class"]) == ["blue", "green", "red"]
    assert metrics["balanced_accuracy"] == pytest.approx(np.mean(list(metrics["per_class"].values())))
    page = (run_folder / "report/index.html").read_text(encoding="utf-8")
    assert "Confusion matrix" in page
    assert "Top-5 accuracy" in page
    assert (run_folder / "pictures/validation.png").is_file()
    assert (run_folder / "export/efficientnet-lite0_frozen.pb").is_file()


def test_classification_is_the_same_by_checkpoint_and_export(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = run_folder.parent / "data/red/0.png"
    found = []
    export = run_folder / "export/efficientnet-lite0_frozen.pb"
    names = (f"--path_ckpt={run_folder}", f"--path_ckpt={export}", f"--model_dir={run_folder}")
    for source in (*names, f"--saved_model_dir={export}"):
        capsys.readouterr()
        assert main(["--mode=classify", source, f"--input_image={image}", "--json"]) == 0
        (entry,) = json.loads(capsys.readouterr().out)
        found.append({each["name"]: each["score"] for each in entry["classes"]})
    assert set(found[0]) == {"blue", "green", "red"}
    assert all(each == pytest.approx(found[0], abs=1e-5) for each in found)
    (best,) = edp.Classifier(run_folder, top=2)(str(image))
    assert {each.name: each.score for each in best} == pytest.approx(dict(list(found[0].items())[:2]))
    out = tmp_path / "out"
    assert (
        main(["--mode=infer", f"--model_dir={run_folder}", f"--input_image={image}", f"--output_image_dir={out}"]) == 0
    )
    (entry,) = json.loads((out / "classes.json").read_text(encoding="utf-8"))
    assert {each["name"]: each["score"] for each in entry["classes"]} == pytest.approx(found[0])


def test_classification_is_evaluated_as_at_the_end_of_training(run_folder: Path) -> None:
    assert main(["--mode=eval", f"--model_dir={run_folder}"]) == 0
    again = json.loads((run_folder / "metrics_eval.json").read_text(encoding="utf-8"))
    metrics = json.loads((run_folder / "metrics.json").read_text(encoding="utf-8"))
    assert again["accuracy"] == metrics["accuracy"]


def test_classify_fails_before_it_prints_json(tmp_path: Path, run_folder: Path, capsys: pytest.CaptureFixture) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"no image")
    assert main(["--mode=classify", f"--path_ckpt={run_folder}", f"--input_image={tmp_path}", "--json"]) == 65
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "None of the 2 images" in printed.err


def test_classification_setup_refuses_a_single_class(write_shards: Callable, image: Callable, box_of: Callable) -> None:
    from efficientdet_pipeline.data.dataset_info import Shards

    shards = Shards(train=(), val=(), num_train=8, num_classes=1, label_map={1: "a"}, max_instances=1)
    with pytest.raises(DataError, match="two classes or more"):
        task_named("classification").setup("efficientnet-lite0", options(), HparamsGiven(), shards)


def test_classification_setup_has_the_classes_of_given_validation_shards_too(
    write_shards: Callable,
    image: Callable,
    box_of: Callable,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from efficientdet_pipeline.data.dataset_info import Shards

    count_files, calls = manifest.count_files, []
    monkeypatch.setattr(manifest, "count_files", lambda files: calls.append(files) or count_files(files))

    task = task_named("classification")
    val = write_shards([image(1, [box_of(2)]), image(2, [box_of(3)])])
    given = {"train": (), "val": val, "num_train": 8, "max_instances": 1, "num_classes": 2}
    found = task.setup(
        "efficientnet-lite0", options(), HparamsGiven(), Shards(**given, label_map={1: "cat", 2: "class 2"})
    )
    assert found.network.label_map == {0: "cat", 1: "class 2", 2: "class 3"}  # type: ignore[attr-defined]
    assert "No training image is of class 3: the network cannot learn this." in caplog.text
    assert found.evaluator(found.build_model()) is not None
    assert len(calls) == 1
    with pytest.raises(DataError, match=r"The class id 2 is 'rat' in the training records and 'class 2' in those of"):
        task.setup("efficientnet-lite0", options(), HparamsGiven(), Shards(**given, label_map={1: "cat", 2: "rat"}))


@pytest.mark.slow
def test_classification_that_was_stopped_is_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_class_folders(tmp_path / "data")
    arguments = [
        *SMALL,
        f"--data_dir={data}",
        "--num_epochs=2",
        "--formats=frozen",
        "--hsv_hue=0.1",
        "--max_rotation=9",
    ]
    assert main([*arguments, f"--model_dir={tmp_path / 'whole'}"]) == 0
    after_batch = CheckpointCallback.on_train_batch_end

    def stop_in_step_9(self: CheckpointCallback, batch: int, logs: dict | None = None) -> None:
        after_batch(self, batch, logs)
        if self.step == 9:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(CheckpointCallback, "on_train_batch_end", stop_in_step_9)
        assert main([*arguments, f"--model_dir={tmp_path / 'stopped'}"]) == 75
    assert main([*arguments, f"--model_dir={tmp_path / 'stopped'}"]) == 0
    states = [np.load(tmp_path / name / "checkpoints/last/state.npz") for name in ("whole", "stopped")]
    assert states[0].files == states[1].files
    assert not [name for name in states[0].files if not np.array_equal(states[0][name], states[1][name])]

"""Detectors built from parts: options and configs, and a whole run from images to infer and a resumed training."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import yaml

from efficientdet_pipeline.cli import main
from efficientdet_pipeline.data.dataset_info import Shards
from efficientdet_pipeline.demo_dataset import write_demo_dataset
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.inference.artifacts import load_artifact
from efficientdet_pipeline.models.build import read_network
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.model import ModelOptions
from efficientdet_pipeline.options.schema import compose
from efficientdet_pipeline.options.training import TrainOptions
from efficientdet_pipeline.tasks import task_of
from efficientdet_pipeline.training.checkpoint_callback import CheckpointCallback
from tfrmod import archive

SHARDS = Shards(train=(), val=(), num_train=8, num_classes=3, label_map={1: "a", 2: "b", 3: "c"}, max_instances=4)
CONFIG = {
    "name": "tiny",
    "backbone": {"name": "efficientnet-b0", "blocks": ["r1_k3_s11_e1_i32_o8_se0.25", *["r1_k3_s22_e1_i8_o8"] * 4]},
    "neck": {"name": "bifpn", "filters": 8, "repeats": 1, "max_level": 5},
    "head": {"name": "anchor_free", "filters": 8, "num_heads": 1},
    "image_size": 64,
}

# An untrained head claims next to nothing: a low threshold leaves something to compare.
NMS = {"score_thresh": 1e-6, "max_nms_inputs": 50, "max_output_size": 20}
TRAINED = {**CONFIG, "head": {**CONFIG["head"], "test_cfg": {"post_processing": {"nms_configs": NMS}}}}


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    (tmp_path / "tiny.json").write_text(json.dumps(CONFIG))
    return tmp_path / "tiny.json"


def options(config: Path | str, **given: object) -> TrainOptions:
    return compose(TrainOptions, **{"url_dataset": "demo", "model_config": str(config), "batch_size": 2, **given})


def test_parts_setup_takes_classes_from_the_data_and_the_canvas_from_the_options(config_file: Path) -> None:
    given = options(config_file, image_size="96x64")
    task = task_of(given.model)
    assert task.image_size("tiny", given, HparamsGiven()) == (64, 96)
    setup = task.setup("tiny", given, HparamsGiven(), SHARDS)
    assert (setup.network.name, setup.network.image_size, setup.network.config.num_classes) == ("tiny", (64, 96), 3)
    assert setup.layout.losses == ("class_loss", "box_loss", "object_loss")
    assert "object_loss" in setup.layout.columns
    again = task.setup_of_description(json.loads(json.dumps(setup.network.as_dict())), given, max_instances=4)
    assert again.network.as_dict() == setup.network.as_dict()


def test_parts_objective_of_halves_averages_to_that_of_images(config_file: Path) -> None:
    setup = task_of(options(config_file).model).setup("tiny", options(config_file), HparamsGiven(), SHARDS)
    images, truth = setup.random_batch(2)
    objective, outputs = setup.objective(), setup.build_model()(images)
    targets = objective.targets(truth)
    count = objective.count(targets)
    total, terms = objective.terms(outputs, targets, objective.normalizer(count))
    half, _ = objective.terms(outputs, targets, objective.normalizer(2 * count))
    assert float(count) == 2.0
    assert float(total) == pytest.approx(sum(map(float, terms.values())), rel=1e-6)
    assert float(half) == pytest.approx(float(total) / 2, rel=1e-6)


@pytest.mark.parametrize(
    ("change", "given", "message"),
    [
        ("head.num_head=2", {}, "Unknown key of head 'num_head'. Did you mean num_heads"),
        ("neck.name=bifpm", {}, "Unknown name of neck 'bifpm'. Did you mean bifpn"),
        ("nek.name=fpn", {}, "nek'. Did you mean neck"),
        ("backbone=resnetv2,neck.min_level=1", {}, r"neck\.min_level=1 must be a level of the"),
        ("head.num_classes=2", {}, "num_classes must be at least the largest label id of the data, 3. Received 2"),
        (
            "head.num_classes=3,class_names=['a','b','d']",
            {},
            "class_names of the model's config must be those of the data",
        ),
        ("head.num_classes=3,class_names=abd", {}, "class_names must be a list of strings"),
        ("image_size=64", {"formats": "saved_model,tflite_int8"}, "formats of a detector built from parts must be"),
        ("image_size=64", {"backbone_ckpt": "efficientnet-b0"}, "backbone_ckpt fits EfficientNets of google/automl"),
        (
            "backbone=resnetv2",
            {"pretrained_ckpt": "r50.pth"},
            r"must be a checkpoint of this detector.*backbone\.weights=r50\.pth",
        ),
    ],
)
def test_parts_that_do_not_fit_are_named(config_file: Path, change: str, given: dict, message: str) -> None:
    asked = options(f"{config_file},{change}", **given)

    def prepare() -> None:
        task = task_of(asked.model)
        task.image_size("tiny", asked, HparamsGiven())
        task.check_pretrained(asked, "tiny")
        task.setup("tiny", asked, HparamsGiven(), SHARDS)

    with pytest.raises(OptionsError, match=message):
        prepare()


def test_parts_beside_a_model_name_are_refused(config_file: Path) -> None:
    with pytest.raises(OptionsError, match="model_config describes a detector of its own"):
        options(config_file, model_name="efficientdet-d0")


def arguments(folder: Path, run: str) -> list[str]:
    return [
        *(f"--data_dir={folder / 'images'}", f"--model_dir={folder / run}", "--batch_size=4", "--num_epochs=1"),
        *("--optimizer=adam", "--learning_rate=0.01", "--pretrained_ckpt=none", "--nodoctor", "--save_freq=1"),
        "--noanalysis",
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with images and a run on them, stopped after a step and resumed without its config's file."""
    folder = tmp_path_factory.mktemp("parts")
    archive.extract(write_demo_dataset(folder / "d.zip", num_images=16, image_size=(72, 64)), folder / "images")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TRAINED))
    begin = CheckpointCallback.on_train_batch_begin

    def stop(self: CheckpointCallback, batch: int, logs: dict | None = None) -> None:
        begin(self, batch, logs)
        if int(self.model.optimizer.iterations.numpy()) == 1:
            signal.raise_signal(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(CheckpointCallback, "on_train_batch_begin", stop)
        assert main([*arguments(folder, "run"), f"--model_config={folder / 'tiny.yaml'}"]) == 75
    assert main(arguments(folder, "run")) == 0
    return folder


def test_parts_run_keeps_its_config_and_logs_the_losses_of_its_head(folder: Path) -> None:
    run = folder / "run"
    assert yaml.safe_load((run / "model_config.yaml").read_text()) == TRAINED
    described = yaml.safe_load((run / "checkpoints/best/hparams_config.yaml").read_text())
    assert (described["name"], described["head"]["num_classes"], described["label_map"][1]) == ("tiny", 4, "circle")
    header = (run / "results.csv").read_text().splitlines()[0].split(",")
    assert {"class_loss", "box_loss", "object_loss", "AP"} <= set(header)


def test_parts_run_that_was_resumed_equals_one_that_was_not(folder: Path) -> None:
    whole = [*arguments(folder, "whole"), "--mode=train", f"--model_config={folder / 'tiny.yaml'}"]
    assert main(whole) == 0
    states = [np.load(folder / name / "checkpoints/last/state.npz") for name in ("run", "whole")]
    assert states[0].files == states[1].files
    assert not [name for name in states[0].files if not np.array_equal(states[0][name], states[1][name])]


def test_parts_run_exports_artifacts_that_detect_alike(folder: Path, tmp_path: Path) -> None:
    run = folder / "run"
    exported = f"--path_output={tmp_path / 'export'}"
    assert main(["--mode=export", f"--model_dir={run}", exported, "--formats=saved_model,tflite"]) == 0
    report = json.loads((tmp_path / "export/report.json").read_text())
    measured = {each["name"]: each["score"] for each in report["artifacts"]}
    assert measured == pytest.approx(dict.fromkeys(("saved_model", "tflite"), report["ap"]), abs=1e-3)
    network = read_network(run / "checkpoints/best/hparams_config.yaml", ModelOptions(), HparamsGiven())
    image = np.random.default_rng(0).integers(0, 255, (1, 70, 60, 3), np.uint8)
    expected = load_artifact(run / "checkpoints/best/model.weights.h5", network.config).detect(image)
    assert int(expected.num_valid[0]) > 5
    for name in ("saved_model", "tiny.tflite"):
        found = load_artifact(tmp_path / "export" / name).detect(image)
        np.testing.assert_allclose(found.scores, expected.scores, rtol=2e-3, atol=1e-7)
        # Scores of a network that has hardly been trained are nearly equal, and their order may change.
        distances = np.abs(found.boxes[0][:, None] - expected.boxes[0][None]).max(-1).min(1)
        assert np.mean(distances < 0.05) > 0.6


def test_parts_run_is_evaluated_by_itself(folder: Path) -> None:
    run = folder / "run"
    assert main(["--mode=eval", f"--model_dir={run}", "--noanalysis"]) == 0
    again, metrics = (json.loads((run / name).read_text()) for name in ("metrics_eval.json", "metrics.json"))
    assert again["AP"] == pytest.approx(metrics["AP"], abs=1e-6)


def test_parts_run_refuses_options_of_another_network(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = f"--model_dir={folder / 'run'}"
    for option, message in (
        ("--model_name=efficientdet-d0", "model_name must be that of the trained network, tiny"),
        (f"--model_config={folder / 'tiny.yaml'},neck.filters=16", "Received another neck"),
        ("--num_classes=9", "num_classes must be that of the trained network, 4"),
        ("--formats=tflite_int8", "formats of a detector built from parts must be"),
    ):
        assert main(["--mode=export", run, option]) == 2
        assert message in capsys.readouterr().err

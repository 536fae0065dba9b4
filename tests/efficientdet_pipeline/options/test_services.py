"""Options set by training services, options that replace them, and unusable values."""

import json
import logging
from pathlib import Path

import pytest

from efficientdet_pipeline.commands import DEFAULT_MODE, MODES
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.options import services
from efficientdet_pipeline.options.parser import Reader, Sources
from efficientdet_pipeline.options.services import Offer, report_failure, service_options, without_service_word

VERTEX = {
    "AIP_MODEL_DIR": "gs://bucket/out/model/",
    "AIP_CHECKPOINT_DIR": "gs://bucket/out/checkpoints/",
    "AIP_TENSORBOARD_LOG_DIR": "gs://bucket/out/logs/",
}


@pytest.fixture
def reader() -> Reader:
    return Reader({name: mode.options_class() for name, mode in MODES.items()}, DEFAULT_MODE)


@pytest.fixture
def gcs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "gcs").mkdir()
    monkeypatch.setattr(services, "GCS_MOUNT", tmp_path / "gcs")
    return tmp_path / "gcs"


@pytest.fixture
def sagemaker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "ml"
    for name in ("input/config", "input/data/training", "output", "model"):
        (root / name).mkdir(parents=True)
    monkeypatch.setattr(services, "SAGEMAKER_ROOT", root)
    return root


def values(sources: Sources) -> dict[str, object]:
    return {name: each.value for name, each in sources.given.items()}


def test_service_options_are_none_elsewhere() -> None:
    assert service_options({"PATH": "/bin", "CLOUD_ML_JOB_ID": "7"}) == {}


def test_service_options_of_vertex_are_folders_of_the_mount(gcs: Path) -> None:
    found = service_options(VERTEX)
    assert {name: each.value for name, each in found.items()} == {
        "publish_dir": f"{gcs}/bucket/out/model",
        "model_dir": f"{gcs}/bucket/out/checkpoints",
        "tensorboard_dir": f"{gcs}/bucket/out/logs",
    }
    assert found["model_dir"].source == "Vertex AI's AIP_CHECKPOINT_DIR"


def test_service_options_keep_addresses_where_nothing_is_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "GCS_MOUNT", tmp_path / "absent")
    assert service_options(VERTEX)["model_dir"].value == "gs://bucket/out/checkpoints"


def test_service_options_take_shards_of_patterns_and_folders(tmp_path: Path) -> None:
    for name in ("train-00000-of-00001.tfrecord", "val-00000-of-00001.tfrecord"):
        (tmp_path / name).touch()
    uris = {"AIP_TRAINING_DATA_URI": str(tmp_path), "AIP_VALIDATION_DATA_URI": f"{tmp_path}/val-*"}
    found = service_options(uris)
    assert found["train_file_pattern"].value == f"{tmp_path}/train-*.tfrecord*"
    assert found["val_file_pattern"].value == f"{tmp_path}/val-*"


def test_service_options_take_a_zip_of_images(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="absl"):
        found = service_options({"AIP_TRAINING_DATA_URI": "images.zip", "AIP_TEST_DATA_URI": "test.zip"})
    assert found["url_dataset"].value == "images.zip"
    assert "AIP_TEST_DATA_URI = test.zip is not read by a training" in caplog.text


@pytest.mark.parametrize(
    ("uris", "message"),
    [
        ({"AIP_TRAINING_DATA_URI": "data/training-*.jsonl"}, "must be TFRecord shards.*training-.*jsonl"),
        ({"AIP_TRAINING_DATA_URI": "a", "AIP_VALIDATION_DATA_URI": "b"}, "must lie in one folder.*'a'.*'b'"),
    ],
)
def test_service_data_that_cannot_be_used_is_an_error_unless_replaced(
    uris: dict[str, str], message: str, reader: Reader
) -> None:
    with pytest.raises(OptionsError, match=message):
        reader.read([], {}, service_options(uris))
    assert values(reader.read(["--url_dataset=x.zip"], {}, service_options(uris))) == {"url_dataset": "x.zip"}


def test_service_options_stand_below_files_and_environment_and_above_defaults(
    tmp_path: Path, reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    page = tmp_path / "a.config"
    page.write_text("--tensorboard_dir=page\n--url_dataset=a.zip\n")
    offers = {
        "tensorboard_dir": Offer(value="offered", source="the service"),
        "publish_dir": Offer(value="offered", source="the service"),
        "num_epochs": Offer(value="7", source="the service"),
    }
    with caplog.at_level(logging.INFO, logger="absl"):
        sources = reader.read([f"@{page}"], {"num_epochs": "3"}, offers)
    assert values(sources) == {
        "tensorboard_dir": "page",
        "publish_dir": "offered",
        "num_epochs": 3,
        "url_dataset": "a.zip",
    }
    assert sources.source_of("publish_dir") == "the service"
    assert "the service = offered has no effect: tensorboard_dir from" in caplog.text


@pytest.mark.parametrize("argument", ["--run_name=a", "--model_dir=a", "--model_ckpts=a", "--workspace=a"])
def test_service_folder_yields_to_every_name_of_a_run(argument: str, reader: Reader) -> None:
    sources = reader.read([argument, "--url_dataset=a.zip"], {}, service_options(VERTEX))
    assert values(sources).get("model_dir", "a") == "a"


def test_service_folder_takes_precedence_over_the_workspace_of_the_container_image(reader: Reader, gcs: Path) -> None:
    sources = reader.read(["--url_dataset=a.zip"], {"workspace": "/workspace"}, service_options(VERTEX))
    assert values(sources)["model_dir"] == f"{gcs}/bucket/out/checkpoints"


def test_service_options_are_for_trainings_alone(reader: Reader) -> None:
    assert values(reader.read(["--mode=infer"], {}, service_options(VERTEX))) == {"mode": "infer"}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"cluster": {"workerpool0": ["a:2222"]}, "task": {"type": "workerpool0", "index": 0}}, None),
        ({"cluster": {"chief": ["a:1"], "ps": ["c:1"]}, "task": {"type": "chief", "index": 0}}, None),
        ({"cluster": {"workerpool0": ["a:1"], "workerpool1": ["b:1"]}, "task": {"type": "workerpool1"}}, "multiworker"),
    ],
)
def test_service_cluster_of_several_processes_chooses_the_strategy(spec: dict, expected: str | None) -> None:
    for name in ("CLUSTER_SPEC", "TF_CONFIG"):
        found = service_options({name: json.dumps(spec)})
        assert (found["strategy"].value if expected else found.get("strategy")) == expected
        assert ("backend" in found) == (expected is not None)


def test_service_cluster_that_is_broken_is_left_to_the_training_to_report() -> None:
    assert service_options({"CLUSTER_SPEC": "{", "KERAS_BACKEND": "jax"})["strategy"].value == "multiworker"


def test_sagemaker_gives_hyperparameters_channels_and_folders(sagemaker: Path, reader: Reader) -> None:
    (sagemaker / "input/config/hyperparameters.json").write_text(
        json.dumps(
            {"num_epochs": "3", "model_name": '"efficientdet-lite0"', "sagemaker_program": "x", "val_loss": "true"}
        )
    )
    (sagemaker / "input/data/training/images.zip").touch()
    sources = reader.read([], {}, service_options({}))
    assert values(sources) == {
        "num_epochs": 3,
        "model_name": "efficientdet-lite0",
        "val_loss": True,
        "url_dataset": f"{sagemaker}/input/data/training/images.zip",
        "model_dir": f"{sagemaker}/checkpoints",
        "publish_dir": f"{sagemaker}/model/1",
    }
    assert sources.source_of("num_epochs") == "SageMaker's hyperparameters.json"


def test_sagemaker_hyperparameter_of_another_name_is_an_error(sagemaker: Path, reader: Reader) -> None:
    (sagemaker / "input/config/hyperparameters.json").write_text('{"epochss": "3"}')
    with pytest.raises(OptionsError, match=r"Unknown option --epochss, from SageMaker's hyperparameters\.json"):
        reader.read(["--url_dataset=a.zip"], {}, service_options({}))


def test_sagemaker_variables_of_its_toolkit_are_read(tmp_path: Path, sagemaker: Path, reader: Reader) -> None:
    environ = {
        "SM_MODEL_DIR": str(tmp_path / "model"),
        "SM_CHANNEL_TRAIN": str(tmp_path / "images"),
        "SM_HPS": '{"mode": "train", "batch_size": 4}',
    }
    (tmp_path / "images").mkdir()
    sources = reader.read([], environ, service_options(environ))
    assert sources.mode == "train"
    assert values(sources)["batch_size"] == 4
    assert values(sources)["url_dataset"] == str(tmp_path / "images")


def test_sagemaker_instances_that_share_nothing_are_refused(sagemaker: Path, reader: Reader) -> None:
    (sagemaker / "input/config/resourceconfig.json").write_text(
        '{"current_host": "algo-1", "hosts": ["algo-1", "algo-2"]}'
    )
    with pytest.raises(OptionsError, match=r"shared folder.*Received 2 instances"):
        reader.read(["--url_dataset=a.zip"], {}, service_options({}))


def test_sagemaker_configuration_that_is_broken_is_named(sagemaker: Path) -> None:
    (sagemaker / "input/config/hyperparameters.json").write_text("{")
    with pytest.raises(OptionsError, match=r"SageMaker's hyperparameters\.json must be JSON. Received '\{'"):
        service_options({})


def test_without_service_word_drops_train_on_sagemaker_alone(sagemaker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert without_service_word(["train"], {}) == []
    assert without_service_word(["@a.config"], {}) == ["@a.config"]
    monkeypatch.setattr(services, "SAGEMAKER_ROOT", sagemaker / "absent")
    assert without_service_word(["train"], {}) == ["train"]


def test_report_failure_writes_the_reason_for_sagemaker(sagemaker: Path) -> None:
    report_failure("ü" * 2000, {})
    assert len((sagemaker / "output/failure").read_bytes()) == 1024

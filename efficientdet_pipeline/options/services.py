"""Training services: options from the environment variables and files of Vertex AI and SageMaker.

Precedence: command line > @file > environment variables named like options > the service > --hparams > default.
Sources: docs/vertex.md lists the variables and the options that they set.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from absl import logging

from efficientdet_pipeline.errors import OptionsError

TRAINING_MODES = frozenset({"traineval", "train"})
GCS_MOUNT = Path("/gcs")
"""Mount point of all buckets that a Vertex AI job may read."""
SAGEMAKER_ROOT = Path("/opt/ml")
_RUN_NAMES = ("model_dir", "run_name", "model_ckpts", "workspace")
_DATA = ("url_dataset", "data_dir", "train_file_pattern")
_TRAINING_TASKS = ("chief", "master", "worker")
_NOT_READ = (".jsonl", ".csv", ".avro")
# Hyperparameters that SageMaker's SDK and tuner add for their own use.
_OF_SAGEMAKER = ("sagemaker_", "_tuning_")
_FAILURE_BYTES = 1024


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A value that a service sets for an option."""

    value: str
    source: str
    """Source for the log, args.yaml and errors."""
    unless: tuple[str, ...] = ()
    """Options of the user that replace it; the option itself always does."""
    fault: str = ""
    """Reason why the value cannot be used; an error unless it is replaced."""


def service_options(environ: Mapping[str, str]) -> dict[str, Offer]:
    """Returns the options set by the service on which this process runs; empty on other machines.

    Raises:
      OptionsError: a file or a variable of the service does not have the documented format.
    """
    offers = _vertex(environ)
    if is_sagemaker(environ):
        offers |= _sagemaker(environ)
    return offers


def offers_in_effect(offers: Mapping[str, Offer], mode: str, given: Mapping[str, str]) -> dict[str, Offer]:
    """Returns the offers that are not replaced by an option of the user; logs the others.

    Args:
      offers: by option.
      mode: services set options of trainings only.
      given: the source of each option that the user gave.

    Raises:
      OptionsError: the value of an offer cannot be used.
    """
    if mode not in TRAINING_MODES:
        return {}
    found = {}
    for name, offer in offers.items():
        stronger = [
            f"{each} from {given[each]}"
            for each in dict.fromkeys((name, *offer.unless))
            # The folder of all runs, set in the container image, is not a choice of the user for this job.
            if each in given and not (each == "workspace" and given[each].startswith("the environment"))
        ]
        if stronger:
            logging.info("%s = %s has no effect: %s takes precedence.", offer.source, offer.value, stronger[0])
        elif offer.fault:
            raise OptionsError(offer.fault, option=name)
        else:
            found[name] = offer
    return found


def mounted(uri: str) -> str:
    """Returns the mount folder of gs://BUCKET/PATH; other names unchanged."""
    path = uri.rstrip("/") if len(uri) > 1 else uri
    if path.startswith("gs://") and GCS_MOUNT.is_dir():
        return str(GCS_MOUNT / path.removeprefix("gs://"))
    return path


def _vertex(environ: Mapping[str, str]) -> dict[str, Offer]:
    offers: dict[str, Offer] = {}
    if folder := environ.get("AIP_CHECKPOINT_DIR"):
        offers["model_dir"] = Offer(value=mounted(folder), source="Vertex AI's AIP_CHECKPOINT_DIR", unless=_RUN_NAMES)
    if folder := environ.get("AIP_MODEL_DIR"):
        source = "Vertex AI's AIP_MODEL_DIR"
        offers["publish_dir"] = Offer(value=mounted(folder), source=source, unless=("path_output", "model_ckpts"))
    if folder := environ.get("AIP_TENSORBOARD_LOG_DIR"):
        offers["tensorboard_dir"] = Offer(value=mounted(folder), source="Vertex AI's AIP_TENSORBOARD_LOG_DIR")
    train, val = environ.get("AIP_TRAINING_DATA_URI", ""), environ.get("AIP_VALIDATION_DATA_URI", "")
    if train:
        offers |= _data(train, val, "Vertex AI's AIP_TRAINING_DATA_URI", "Vertex AI's AIP_VALIDATION_DATA_URI")
    if test := environ.get("AIP_TEST_DATA_URI"):
        logging.info("Vertex AI's AIP_TEST_DATA_URI = %s is not read by a training; --mode=eval evaluates it.", test)
    for name in ("TF_CONFIG", "CLUSTER_SPEC"):
        if environ.get(name) and _num_processes(environ[name]) != 1:
            offers["strategy"] = Offer(value="multiworker", source=f"the cluster in {name}")
            if not environ.get("KERAS_BACKEND"):
                offers["backend"] = Offer(value="jax", source=f"the cluster in {name}", unless=("strategy",))
            break
    return offers


def _num_processes(cluster_spec: str) -> int:
    """Returns the number of training processes; 0 if the cluster description is invalid, which the training reports."""
    try:
        cluster = json.loads(cluster_spec)["cluster"]
        return sum(len(tasks) for kind, tasks in cluster.items() if kind.startswith(_TRAINING_TASKS))
    except (ValueError, KeyError, TypeError, AttributeError):
        return 0


def _data(train: str, val: str, train_source: str, val_source: str) -> dict[str, Offer]:
    """Returns the options for training and validation data: shards, or annotated images."""
    train, val = mounted(train), mounted(val) if val else ""
    fault = ""
    if shards := _shards(train, "train"):
        offers = {"train_file_pattern": Offer(value=shards, source=train_source, unless=_DATA)}
        if val:
            of_val = Offer(value=_shards(val, "val") or val, source=val_source, unless=_DATA)
            offers["val_file_pattern"] = of_val
        return offers
    if any(end in Path(train).name for end in _NOT_READ):
        fault = (
            "The data of a training must be TFRecord shards, or a zip or folder of annotated images. Received "
            f"{train!r} from {train_source}; set images by --url_dataset (docs/data-formats.md), or shards by "
            "--train_file_pattern."
        )
    elif val and val != train:
        fault = (
            "Images for training and validation must lie in one folder, which --val_set or --train_valid_split "
            f"divides. Received {train!r} from {train_source} and {val!r} from {val_source}; set the folder of both "
            "by --url_dataset, or shards by --train_file_pattern and --val_file_pattern."
        )
    return {"url_dataset": Offer(value=train, source=train_source, unless=_DATA, fault=fault)}


def _shards(place: str, split: str) -> str:
    """Returns the glob of the shards at a location; empty if it has none."""
    path = Path(place)
    if path.is_dir():
        patterns = (f"{split}-*.tfrecord*", f"{split}*.tfrecord*", "*.tfrecord*")
        return next((str(path / pattern) for pattern in patterns if any(path.glob(pattern))), "")
    is_pattern = any(sign in path.name for sign in "*?[") or ".tfrecord" in path.name
    return place if is_pattern and not any(end in path.name for end in _NOT_READ) else ""


def is_sagemaker(environ: Mapping[str, str]) -> bool:
    """Returns whether this is the container of a SageMaker training job."""
    return bool(environ.get("SM_MODEL_DIR")) or (SAGEMAKER_ROOT / "input" / "config").is_dir()


def without_service_word(arguments: list[str], environ: Mapping[str, str]) -> list[str]:
    """Returns the arguments without the word `train`, which SageMaker passes to every container."""
    return [] if arguments == ["train"] and is_sagemaker(environ) else arguments


def report_failure(message: str, environ: Mapping[str, str]) -> None:
    """Writes the message to the file from which SageMaker reads the reason of a failure; does nothing elsewhere."""
    folder = SAGEMAKER_ROOT / "output"
    if is_sagemaker(environ) and folder.is_dir():
        try:
            (folder / "failure").write_bytes(message.encode()[:_FAILURE_BYTES])
        except OSError as error:
            logging.warning("The reason could not be written to %s: %s.", folder / "failure", error.strerror)


def _sagemaker(environ: Mapping[str, str]) -> dict[str, Offer]:
    offers: dict[str, Offer] = {}
    hyperparameters, where = _sagemaker_json(environ, "SM_HPS", "hyperparameters.json")
    for name, value in hyperparameters.items():
        if not name.startswith(_OF_SAGEMAKER):
            offers[name] = Offer(value=_plain(value), source=f"SageMaker's {where}")
    model = environ.get("SM_MODEL_DIR") or str(SAGEMAKER_ROOT / "model")
    paths = {
        # TensorFlow Serving expects a numbered version in the folder of the model.
        "publish_dir": Offer(
            value=f"{model}/1", source="SageMaker's model folder", unless=("path_output", "model_ckpts")
        ),
        "model_dir": Offer(
            value=str(SAGEMAKER_ROOT / "checkpoints"), source="SageMaker's checkpoint folder", unless=_RUN_NAMES
        ),
    }
    if environ.get("SM_CURRENT_HOST") or (SAGEMAKER_ROOT / "input" / "config" / "resourceconfig.json").is_file():
        resources, _ = _sagemaker_json(environ, "", "resourceconfig.json")
        hosts = resources.get("hosts") or json.loads(environ.get("SM_HOSTS") or "[]")
        if isinstance(hosts, list) and len(hosts) > 1:
            fault = (
                "A distributed training needs a shared folder, which the instances of a SageMaker job do not have. "
                "Received "
                f"{len(hosts)} instances; use one with several GPUs and --strategy=gpus, or mount a file system and "
                "use --strategy=multiworker with TF_CONFIG."
            )
            paths["strategy"] = Offer(value="multiworker", source="SageMaker's hosts", fault=fault)
    return {**paths, **_sagemaker_data(environ), **offers}


def _sagemaker_data(environ: Mapping[str, str]) -> dict[str, Offer]:
    folder = SAGEMAKER_ROOT / "input" / "data"
    channels = {path.name: str(path) for path in sorted(folder.iterdir()) if path.is_dir()} if folder.is_dir() else {}
    channels |= {
        name.removeprefix("SM_CHANNEL_").lower(): place
        for name, place in environ.items()
        if name.startswith("SM_CHANNEL_")
    }
    train = _first(channels, ("train", "training", "images"))
    val = _first(channels, ("validation", "val"))
    if not train:
        return {}
    zips = sorted(Path(train).glob("*.zip"))
    if len(zips) == 1 and not any(path.is_dir() for path in Path(train).iterdir()):
        train = str(zips[0])
    return _data(train, val, "SageMaker's training channel", "SageMaker's validation channel")


def _first(channels: Mapping[str, str], names: Iterable[str]) -> str:
    return next((channels[name] for name in names if name in channels), "")


def _sagemaker_json(environ: Mapping[str, str], variable: str, name: str) -> tuple[dict[str, object], str]:
    """Returns a JSON object from a variable, else from a file of the job's configuration, and its source."""
    path = SAGEMAKER_ROOT / "input" / "config" / name
    where, text = (variable, environ[variable]) if environ.get(variable) else (name, "")
    try:
        text = text or (path.read_text(encoding="utf-8") if path.is_file() else "{}")
        found = json.loads(text)
    except (OSError, ValueError) as error:
        raise OptionsError(f"SageMaker's {where} must be JSON. Received {text[:200]!r}: {error}.") from None
    if not isinstance(found, dict):
        raise OptionsError(f"SageMaker's {where} must be a JSON object. Received {text[:200]!r}.")
    return found, where


def _plain(value: object) -> str:
    """Returns the text of a hyperparameter; SageMaker's SDK adds a second pair of quotes for scripts."""
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"':
        return value[1:-1]
    return value if isinstance(value, str) else json.dumps(value)

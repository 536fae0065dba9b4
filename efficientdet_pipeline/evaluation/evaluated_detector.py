"""Detector of an evaluation: a checkpoint, an exported model, or an ensemble."""

from dataclasses import dataclass
from pathlib import Path

import efficientdet
from absl import logging

from efficientdet_pipeline.data.dataset_info import NAMES_IN_SHARDS
from efficientdet_pipeline.errors import DataError, MissingError
from efficientdet_pipeline.evaluation.artifact_evaluator import ArtifactEvaluator, detect_function
from efficientdet_pipeline.evaluation.evaluator import Evaluator
from efficientdet_pipeline.evaluation.ground_truth import DetectorClasses, GroundTruth
from efficientdet_pipeline.evaluation.views import Detect, View, views
from efficientdet_pipeline.inference.artifacts import check_one_artifact, load_artifact
from efficientdet_pipeline.json_fields import object_field, text_field
from efficientdet_pipeline.models.build import Network, read_network
from efficientdet_pipeline.models.class_names import chosen_class_names
from efficientdet_pipeline.models.description import config_beside, described_beside, is_export
from efficientdet_pipeline.models.weights import TrainedWeights, load_trained, trained_weights
from efficientdet_pipeline.options.evaluation import CheckpointOptions, EvalOptions
from efficientdet_pipeline.options.general import RunOptions
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.infer import NETWORK_SUFFIXES
from efficientdet_pipeline.options.model import ModelOptions
from efficientdet_pipeline.runs import metadata
from efficientdet_pipeline.runs.run_dir import RunFolder, containing_run
from tfrmod.replacement import finish_replacement


@dataclass(frozen=True, kw_only=True)
class EvaluatedPlace:
    """Where something lies that is evaluated, which decides where its results go."""

    path: Path
    """Of the checkpoint's weights or of the export."""
    run: RunFolder | None
    """That it is of, where it lies in a run's folder."""
    names_run: bool = False
    """Whether the options name the run as a whole."""
    is_export: bool = False


@dataclass(frozen=True, kw_only=True)
class EvaluatedDetector:
    """A detector and its classes; `evaluator` loads its weights."""

    name: str
    """Name of the network, else of the file."""
    path: Path
    """Path of the checkpoint's weights or of the export."""
    label_map: dict[int, str]
    classes: DetectorClasses
    run: RunFolder | None
    """Run whose folder contains the detector."""
    names_run: bool = False
    """Whether the options name the run, not one of its checkpoints."""
    network: Network | None = None
    """Network of a checkpoint; an export contains its own."""
    is_trusted: bool = False

    @property
    def place(self) -> EvaluatedPlace:
        """Returns where it lies."""
        return EvaluatedPlace(path=self.path, run=self.run, names_run=self.names_run, is_export=self.network is None)

    def evaluator(
        self, truth: GroundTruth, *, batch_size: int, members: "list[EvaluatedDetector]", shown: list[View]
    ) -> Evaluator | ArtifactEvaluator:
        """Returns the evaluator of this detector, alone or fused with further detectors and views.

        Raises:
          DataError: the weights do not fit, or an ensemble member has other classes.
        """
        if self.network is not None and not members and shown == [View()]:
            detector = efficientdet.build_model(self.network.config)
            load_trained(detector, self.path)
            return Evaluator(detector, self.network.config, truth, label_map=self.label_map, batch_size=batch_size)
        detectors = [self._detect(), *(member._detect(self.classes) for member in members)]
        return ArtifactEvaluator(detectors, truth, views=shown)

    def _detect(self, classes: DetectorClasses | None = None) -> Detect:
        """Returns the detection function of an image, with the class ids of `classes` if given."""
        config = self.network.config if self.network is not None else config_beside(self.path)
        predictor = load_artifact(self.path, config if self._needs_config else None, is_trusted=self.is_trusted)
        return detect_function(predictor, classes.join(self.label_map, str(self.path)) if classes is not None else None)

    @property
    def _needs_config(self) -> bool:
        return self.network is not None or self.path.suffix.lower() in NETWORK_SUFFIXES


def find_detector(options: EvalOptions, hparams: HparamsGiven) -> EvaluatedDetector:
    """Returns the detector that the options name: an export, else a checkpoint.

    Raises:
      MissingError: there is no such detector.
      DataError: the export has no class names.
    """
    if options.subject.saved_model_dir:
        path = Path(options.subject.saved_model_dir).expanduser()
        return _export(path, hparams, is_trusted=options.subject.trust_model)
    return _checkpoint(trained_weights(options.checkpoint, options.run), options.model, hparams)


def find_members(options: EvalOptions, hparams: HparamsGiven) -> list[EvaluatedDetector]:
    """Returns the other detectors of --ensemble: checkpoints, runs or exports."""
    members = []
    for word in filter(None, map(str.strip, options.subject.ensemble.split(","))):
        path = Path(word).expanduser()
        if is_export(path):
            members.append(_export(path, hparams, is_trusted=options.subject.trust_model))
        else:
            trained = trained_weights(CheckpointOptions(path_ckpt=word), RunOptions())
            members.append(_checkpoint(trained, ModelOptions(), hparams))
    return members


def find_views(tta: str) -> list[View]:
    """Returns the views of --tta: `flip` and scales, comma-separated."""
    words = [word for word in map(str.strip, tta.split(",")) if word]
    scales = [float(word) for word in words if word not in {"flip", "scale"}]
    scales += [0.8] if "scale" in words else []
    return views(mirror="flip" in words, scales=[1.0, *(scale for scale in scales if scale != 1.0)])


def _checkpoint(trained: TrainedWeights, model: ModelOptions, hparams: HparamsGiven) -> EvaluatedDetector:
    network = read_network(trained.description, model, hparams)
    renamed = object_field(metadata.read_json(trained.run.metadata), NAMES_IN_SHARDS) if trained.run is not None else {}
    return EvaluatedDetector(
        name=network.config.name,
        path=trained.path,
        label_map=network.label_map,
        classes=DetectorClasses(
            num_classes=network.config.num_classes,
            label_map=network.label_map,
            other_names={
                **{int(class_id): text_field(renamed, class_id) for class_id in renamed},
                **network.trained_names,
            },
        ),
        run=trained.run,
        names_run=trained.names_run,
        network=network,
    )


def _export(path: Path, hparams: HparamsGiven, *, is_trusted: bool) -> EvaluatedDetector:
    for folder in (path, path.parent):
        finish_replacement(folder)  # Left by an interrupted export.
    if not path.exists():
        raise MissingError(f"The export {str(path)!r} does not exist. Check --saved_model_dir.")
    check_one_artifact(path)
    own, num_classes, place = described_beside(path)
    names = chosen_class_names(hparams, own, num_classes=num_classes, described_by=place)
    if num_classes is None:
        if not names:
            raise DataError(
                f"The classes of {path} must be known for the evaluation. There is no label_map.yaml beside it; copy "
                "it and hparams_config.yaml from the folder of the export, or set --hparams=label_map={1: name, …}."
            )
        num_classes = max(names)
    network = config_beside(path) or config_beside(path / "saved_model.pb")
    logging.info("Evaluating %s", path)
    return EvaluatedDetector(
        name=network.name if network is not None else path.stem,
        path=path,
        label_map=names,
        classes=DetectorClasses(num_classes=num_classes, label_map=names),
        run=containing_run(path.absolute()),
        is_trusted=is_trusted,
    )

"""The service of the detector that options name."""

from collections.abc import Sequence
from pathlib import Path

from efficientdet_pipeline import backend
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.inference.detector import load_detector
from efficientdet_pipeline.models.class_networks import class_task_of, class_weights_of
from efficientdet_pipeline.models.weights import DESCRIPTION
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.parser import Reader
from efficientdet_pipeline.options.resolve import resolve_options
from efficientdet_pipeline.options.serve import ServeOptions
from efficientdet_pipeline.serving.prediction_service import PredictionService
from efficientdet_pipeline.serving.server import limits_of


def load_service(options: ServeOptions, hparams: HparamsGiven) -> PredictionService:
    """Returns the service of the detector that the options name, ready for its first request.

    Raises:
      OptionsError: the options name no detector.
      PipelineError: as `load_detector`.
    """
    _check_detects(options)
    service = PredictionService(load_detector(options, hparams), limits_of(options.server))
    service.warm_up()
    return service


def service_of(arguments: Sequence[str]) -> PredictionService:
    """Returns the service that arguments of the command line name; the environment is not read for options."""
    reader = Reader({"serve": ServeOptions}, "serve")
    options, _, hparams = resolve_options(reader, reader.read([*arguments, "--mode=serve"], {}), ServeOptions)
    backend.prepare_environment(debug=options.general.debug)
    return load_service(options, hparams)


def _check_detects(options: ServeOptions) -> None:
    """Raises OptionsError if the options name a segmentation or classification network."""
    exported = options.detection.saved_model_dir
    if exported:
        path = Path(exported).expanduser()
        found = next((each for each in (path, path.parent) if class_task_of(each / DESCRIPTION)), None)
    else:
        trained = class_weights_of(options.checkpoint, options.run)
        found = trained.path if trained is not None else None
    if found is not None:
        raise OptionsError(
            f"--mode=serve answers with boxes of a detector. Received the network {found}, which gives none; "
            "--mode=infer writes the masks of a segmentation and the classes of a classification."
        )

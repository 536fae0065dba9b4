"""What --mode=eval and export do with a segmentation or classification network."""

from pathlib import Path

from absl import logging

from efficientdet_pipeline.benchmarking.class_gate import class_gate
from efficientdet_pipeline.console import say
from efficientdet_pipeline.errors import MissingError, OptionsError
from efficientdet_pipeline.evaluation.class_evaluators import evaluate_shards, format_class_metrics
from efficientdet_pipeline.evaluation.evaluated_detector import EvaluatedPlace
from efficientdet_pipeline.evaluation.evaluation_shards import evaluation_shards
from efficientdet_pipeline.export.bundle import ExportedFiles
from efficientdet_pipeline.export.class_bundle import write_class_bundle
from efficientdet_pipeline.export.class_export import class_facts
from efficientdet_pipeline.export.class_formats import CLASS_FORMATS, TrainedClassNetwork, class_formats_of
from efficientdet_pipeline.export.from_run import calibration_images, export_place
from efficientdet_pipeline.inference.class_predictor import ClassPredictor, checkpoint_predictor, exported_predictor
from efficientdet_pipeline.inference.extras import check_installed, log_left_out
from efficientdet_pipeline.models.class_networks import class_weights_of, load_class_network
from efficientdet_pipeline.models.weights import TrainedWeights
from efficientdet_pipeline.options.evaluation import EvalOptions
from efficientdet_pipeline.options.export import ExportOptions
from efficientdet_pipeline.report.class_report import finish_class_evaluation
from efficientdet_pipeline.report.evaluation_report import evaluation_places
from efficientdet_pipeline.runs.run_dir import containing_run
from efficientdet_pipeline.training import checkpoint_io


def evaluate_class_network(options: EvalOptions) -> dict[str, object] | None:
    """Returns the metrics of the segmentation or classification that the options name; None where they name none."""
    found = _subject(options)
    if found is None:
        return None
    predictor, place = found
    task = predictor.network.task
    idle = [name for name in ("ensemble", "tta", "testdev_dir", "class_groups") if getattr(options.subject, name)]
    if idle:
        raise OptionsError(
            f"{idle[0]} is for detectors. Received it with a {task} network; leave it out.", option=idle[0]
        )
    shards = evaluation_shards(options, place.run, place.path, task=task)
    report_place, path = evaluation_places(options, place, is_own=shards.are_own, primary=predictor.network.primary)
    files = [str(file) for file in shards.files]
    epoch = -1 if place.is_export else checkpoint_io.epoch_of(place.path)
    facts = {"checkpoint": str(place.path), "data": shards.about, **({"epoch": epoch} if epoch >= 0 else {})}
    limit = options.evaluation.eval_samples
    evaluation = evaluate_shards(predictor.probabilities, predictor.network, files, facts, limit=limit)
    return finish_class_evaluation(
        evaluation,
        report_place,
        path,
        name=predictor.network.name,
        table=format_class_metrics(predictor.network, evaluation.metrics.as_dict()),
        explains=options.evaluation.analysis,
        epoch=epoch,
    )


def _subject(options: EvalOptions) -> tuple[ClassPredictor, EvaluatedPlace] | None:
    if options.subject.saved_model_dir:
        path = Path(options.subject.saved_model_dir).expanduser()
        if not path.exists():
            raise MissingError(f"The export {str(path)!r} does not exist. Check --saved_model_dir.")
        exported = exported_predictor(path, is_trusted=options.subject.trust_model)
        run = containing_run(path.absolute())
        return None if exported is None else (exported, EvaluatedPlace(path=path, run=run, is_export=True))
    trained = class_weights_of(options.checkpoint, options.run)
    if trained is None:
        return None
    place = EvaluatedPlace(path=trained.path, run=trained.run, names_run=trained.names_run)
    return checkpoint_predictor(trained), place


def export_class_network(options: ExportOptions, weights: TrainedWeights) -> ExportedFiles:
    """Exports a segmentation or classification in the formats of the options, and measures the artifacts.

    Raises:
      AccuracyError: an artifact lost more than it may; the others are in place.
    """
    model, network = load_class_network(weights)
    formats = class_formats_of(options.formats, network.task)
    check_installed(options.formats.packages())
    log_left_out(options.formats.left_out(CLASS_FORMATS))
    given = options.accuracy
    count, pattern = options.formats.calibration_images, given.calibration_file_pattern
    is_quantized = any(each.precision == "int8" for each in formats)
    idle = [f"--{name}" for name in ("quant_debug", "quant_recipe") if getattr(given, name)]
    idle += ["--serving_dir"] if options.serving_dir else []
    if idle:
        logging.warning("Without effect on a %s: %s.", network.task, ", ".join(idle))
    images = calibration_images(weights.run, count, pattern=pattern) if is_quantized else ()
    trained = TrainedClassNetwork(model=model, network=network, calibration=images)
    gate = class_gate(given, weights, trained)
    place = export_place(options, weights)
    facts = class_facts(weights, network, intended_use=options.intended_use, license=options.model_license)
    measure = gate.measure if gate is not None else None
    exported = write_class_bundle(trained, place, formats, facts=facts, measure=measure)
    if gate is not None and exported.report is not None:
        say(exported.report.table())
        gate.check(exported.report)
    exported.check_complete()
    return exported

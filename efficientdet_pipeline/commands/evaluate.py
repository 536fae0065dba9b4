"""--mode=eval: evaluation of a checkpoint, an export or a detections file with COCO and Pascal VOC metrics."""

from pathlib import Path

from absl import logging

from efficientdet_pipeline.evaluation.detections_evaluation import evaluate_detections
from efficientdet_pipeline.evaluation.evaluated_detector import (
    find_detector,
    find_members,
    find_views,
)
from efficientdet_pipeline.evaluation.evaluation_file import saved_evaluation
from efficientdet_pipeline.evaluation.evaluation_shards import evaluation_shards
from efficientdet_pipeline.evaluation.ground_truth import ground_truth
from efficientdet_pipeline.evaluation.submission import write_test_dev
from efficientdet_pipeline.options.evaluation import EvalOptions
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.parser import Sources
from efficientdet_pipeline.report.evaluation_report import (
    evaluation_place,
    evaluation_places,
    finish_evaluation,
)
from efficientdet_pipeline.system import rare_garbage_collection
from efficientdet_pipeline.training import checkpoint_io


def run(options: EvalOptions, read: Sources, hparams: HparamsGiven) -> None:
    """Evaluates the detector or the detections that the options name."""
    del read
    with rare_garbage_collection():
        evaluate(options, hparams)


def evaluate(options: EvalOptions, hparams: HparamsGiven) -> dict[str, object]:
    """Returns the metrics of the detector that the options name; prints them and writes them to a file."""
    if options.subject.detections_json:
        return _evaluate_file(options)
    from efficientdet_pipeline.commands.class_networks import evaluate_class_network

    metrics = evaluate_class_network(options)
    if metrics is not None:
        return metrics
    detector = find_detector(options, hparams)
    members, shown = find_members(options, hparams), find_views(options.subject.tta)
    shards = evaluation_shards(options, detector.run, detector.path)
    place, metrics_path = evaluation_places(
        options, detector.place, is_own=shards.are_own and not members and len(shown) == 1
    )
    given = options.evaluation
    truth = ground_truth(
        shards.files,
        detector.classes,
        json_file="" if options.subject.testdev_dir else given.val_json_file,
        limit=given.eval_samples,
        made=shards.made,
    )
    evaluator = detector.evaluator(
        truth, batch_size=options.batch_size or EvalOptions.batch_size, members=members, shown=shown
    )
    detected = evaluator.collect()
    if options.subject.testdev_dir:
        write_test_dev(options.subject.testdev_dir, detected[1], name=detector.name, label_map=detector.label_map)
        return {}
    what = " + ".join([str(detector.path), *(str(member.path) for member in members)])
    facts: dict[str, str | float] = {"checkpoint": what, "data": shards.about, "milliseconds": evaluator.milliseconds}
    if len(shown) > 1:
        facts["views"] = f"{len(shown)} (--tta={options.subject.tta})"
    epoch = checkpoint_io.epoch_of(detector.path)
    facts |= {"epoch": epoch} if epoch >= 0 else {}
    from efficientdet_pipeline.evaluation.map_scorer import score_maps

    facts |= score_maps(evaluator)
    saved = saved_evaluation(detected, detector.label_map, shards=truth.files, numbers=truth.numbers, facts=facts)
    return finish_evaluation(options, saved, detector.name, place, metrics_path, epoch=epoch)


def _evaluate_file(options: EvalOptions) -> dict[str, object]:
    path, json_file = Path(options.subject.detections_json), options.evaluation.val_json_file
    shards = () if json_file else evaluation_shards(options, None, path).files
    found = evaluate_detections(path, json_file=json_file, shards=shards)
    for warning in found.warnings:
        logging.warning("%s", warning)
    facts: dict[str, str | float] = {"checkpoint": str(path), "data": json_file or str(shards[0].parent)}
    files = [str(file) for file in shards]
    saved = saved_evaluation(found.detected, found.label_map, shards=files, facts=facts)
    place = evaluation_place(None, path.absolute().parent, options.evaluation.eval_name or path.stem, is_own=False)
    return finish_evaluation(
        options, saved, path.name, place, place.folder.path / "metrics.json", warnings=found.warnings
    )

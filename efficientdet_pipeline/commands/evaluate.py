"""--mode=eval: evaluate a checkpoint on shards (COCO metrics)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import efficientdet
from absl import logging

from efficientdet_pipeline.data.dataset_info import NAMES_IN_SHARDS
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.evaluation import format_table, write_metrics
from efficientdet_pipeline.evaluation.evaluator import Evaluator
from efficientdet_pipeline.evaluation.ground_truth import DetectorClasses, ground_truth
from efficientdet_pipeline.models.build import Network, read_network
from efficientdet_pipeline.models.weights import TrainedWeights, load_trained, trained_weights
from efficientdet_pipeline.options.evaluation import EvalOptions
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.parser import Sources
from efficientdet_pipeline.runs import metadata
from efficientdet_pipeline.runs.output_files import check_output_json
from efficientdet_pipeline.runs.run_dir import RunFolder
from tfrmod import manifest


def run(options: EvalOptions, read: Sources, hparams: HparamsGiven) -> None:
    """Evaluates the checkpoint that the options name."""
    del read
    evaluate_checkpoint(options, hparams)


def evaluate_checkpoint(options: EvalOptions, hparams: HparamsGiven) -> dict[str, Any]:
    """Returns the COCO metrics of the checkpoint that the options name; prints them and writes them to its folder."""
    trained = trained_weights(options.checkpoint, options.run)
    network = read_network(trained.description, options.model, hparams)
    files, made = _files(options, trained)
    name = f"metrics_{options.evaluation.eval_name or 'eval'}.json"
    weights = trained.path
    beside = weights if weights.is_dir() else weights.parent
    place = (trained.run.path if trained.run is not None and trained.names_run else beside) / name
    check_output_json(place, {"epoch", "AP"}, option="eval_name")
    truth = ground_truth(
        files,
        _classes(network, trained),
        json_file=options.evaluation.val_json_file,
        limit=options.evaluation.eval_samples,
        made=made,
    )
    detector = efficientdet.build_model(network.config)
    load_trained(detector, trained.path)
    scorer = Evaluator(
        detector,
        network.config,
        truth,
        label_map=network.label_map,
        batch_size=options.batch_size,
    )
    metrics = scorer()
    logging.info("%s\n%s", network.config.name, format_table(metrics))
    try:
        write_metrics(place, {**metrics, "checkpoint": str(weights)}, _epoch(weights))
    except OSError as error:
        # The numbers are there, and minutes of work; that a folder is closed to us must not take them away.
        logging.warning(
            "The metrics are those printed above, and no file holds them: %s cannot be written (%s). To have the file, "
            "copy the checkpoint to a folder of yours and name it by --path_ckpt.",
            *(place, error.strerror or error),
        )
    else:
        logging.info("Written to %s", place)
    return metrics


def _classes(network: Network, trained: TrainedWeights) -> DetectorClasses:
    renamed = metadata.read_json(trained.run.metadata).get(NAMES_IN_SHARDS, {}) if trained.run is not None else {}
    return DetectorClasses(
        num_classes=network.config.num_classes,
        label_map=network.label_map,
        other_names={**{int(class_id): name for class_id, name in renamed.items()}, **network.trained_names},
    )


def _files(options: EvalOptions, trained: TrainedWeights) -> tuple[Sequence[Path], manifest.Manifest | None]:
    """Returns the shards to evaluate on, and their manifest where they are the run's own."""
    if options.evaluation.val_file_pattern:
        return manifest.shard_files(options.evaluation.val_file_pattern), None
    looked_at = f"{trained.path} lies in no run's folder, which would hold some"
    if trained.run is not None:
        files, made = _of_run(trained.run)
        if files:
            return files, made
        looked_at = f"the run {trained.run.path} holds none (looked at {trained.run.manifest} and its args.yaml)"
    raise OptionsError(
        f"val_file_pattern must name shards to evaluate on. Received nothing, and {looked_at}; try "
        "--val_file_pattern='shards/val-*', or name a run that was trained on images by --model_dir.",
        option="val_file_pattern",
    )


def _of_run(run_: RunFolder) -> tuple[Sequence[Path], manifest.Manifest | None]:
    """Returns the validation shards that a run made, or those that it was given."""
    used = metadata.read_args(run_.args)
    places = [run_.manifest, Path(used.get("output_path") or run_.records_path) / manifest.FILE_NAME]
    for place in places:
        if not place.exists():
            continue
        made = manifest.Manifest.load(place)
        if "val" in made.splits and made.splits["val"].num_images:
            return [made.folder / shard.name for shard in made.splits["val"].files], made
    pattern = used.get("val_file_pattern")
    return (manifest.shard_files(pattern) if pattern else ()), None


def _epoch(weights: Path) -> float:
    from efficientdet_pipeline.training import checkpoint_io

    folder = weights if weights.is_dir() else weights.parent
    return checkpoint_io.read_marker(folder)["epoch"] if (folder / checkpoint_io.MARKER).exists() else -1

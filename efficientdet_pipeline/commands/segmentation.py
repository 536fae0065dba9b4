"""Segmentation networks in --mode=infer, eval and export."""

import json
from pathlib import Path

from absl import logging
from tqdm import tqdm

from efficientdet_pipeline.console import is_terminal, print_next_command
from efficientdet_pipeline.data.semantic_batches import SemanticClasses
from efficientdet_pipeline.evaluation import write_metrics
from efficientdet_pipeline.evaluation.evaluation_shards import evaluation_shards
from efficientdet_pipeline.evaluation.segmentation_evaluator import PRIMARY, SegmentationScorer, format_metrics
from efficientdet_pipeline.export.segmentation import export_segmentation
from efficientdet_pipeline.inference.image_io import find_images, output_names, read_images, write_image
from efficientdet_pipeline.inference.segmentation import coco_segments, write_class_map
from efficientdet_pipeline.inference.segmentation_predictor import SegmentationPredictor, load_segmentation
from efficientdet_pipeline.models.weights import TrainedWeights
from efficientdet_pipeline.options.evaluation import EvalOptions
from efficientdet_pipeline.options.export import ExportOptions
from efficientdet_pipeline.options.infer import InferOptions
from efficientdet_pipeline.runs.output_files import check_output_files, check_output_json, note_output_files
from efficientdet_pipeline.visualize.semantic_map import overlay_classes
from tfrmod import fileio

SEGMENTS = "segments.json"
MASKS = "masks"


def infer_segmentation(options: InferOptions, predictor: SegmentationPredictor) -> None:
    """Writes overlays, class maps (masks/) and COCO segments of the images that the options name."""
    images = find_images(options.input_image)
    folder = Path(options.output_image_dir).expanduser()
    pictures = output_names(images)
    # a.jpg and a.png need different mask files.
    masks = [f"{MASKS}/{name}" for name in output_names(Path(name).with_suffix(".png") for name in pictures)]
    names = [*pictures, *masks, SEGMENTS]
    earlier = check_output_files(folder, names, option="output_image_dir")
    note_output_files(folder, names, earlier)
    (folder / MASKS).mkdir(exist_ok=True)
    label_map, segments, num_read = predictor.network.label_map, [], 0
    place_of = dict(zip(images, zip(pictures, masks, strict=True), strict=True))
    progress = tqdm(
        read_images(images, options.input_image),
        total=len(images),
        unit="image",
        leave=False,
        disable=not is_terminal(),
    )
    for path, image in progress:
        picture, mask = place_of[path]
        num_read += 1
        class_map, chances = predictor.class_map(image)
        write_class_map(folder / mask, class_map)
        write_image(folder / picture, overlay_classes(image, class_map, background=predictor.background))
        found = coco_segments(
            class_map, label_map, image_id=path.name, background=predictor.background, chances=chances
        )
        segments += found
        shares = (f"{each['category_name']} {each['area'] / class_map.size:.1%}" for each in found)
        logging.info("%s: %s", path, ", ".join(shares) or "background only")
    fileio.write_file(folder / SEGMENTS, json.dumps(segments, ensure_ascii=False) + "\n")
    logging.info("%d images: overlays, %s/ and %s in %s", num_read, MASKS, SEGMENTS, folder)


def evaluate_segmentation(options: EvalOptions, trained: TrainedWeights) -> dict[str, object]:
    """Returns the metrics of a checkpoint on shards; prints them and writes them to a file."""
    shards = evaluation_shards(options, trained.run, trained.path)
    in_run = trained.run is not None and trained.names_run
    folder = trained.run.path if in_run and trained.run is not None else trained.path.parent
    path = folder / f"metrics_{options.evaluation.eval_name or 'eval'}.json"
    check_output_json(path, {"epoch", PRIMARY}, option="eval_name")
    model, network = load_segmentation(trained)
    classes = SemanticClasses(num_classes=network.config.num_classes, has_background=network.has_background)
    files = [str(file) for file in shards.files]
    metrics = SegmentationScorer(model, network, classes, files, limit=options.evaluation.eval_samples)().as_dict()
    logging.info("%s\n%s", network.name, format_metrics(metrics))
    write_metrics(path, {**metrics, "data": shards.about}, -1)
    logging.info("Written to %s", path)
    return metrics


def export_segmentation_checkpoint(options: ExportOptions, trained: TrainedWeights) -> Path:
    """Exports a checkpoint as a SavedModel, and returns its path."""
    model, network = load_segmentation(trained)
    of_run = trained.run.export_path if trained.run is not None and trained.names_run else Path("export")
    place = export_segmentation(model, network, options.path_output or of_run)["saved_model"]
    logging.info("saved_model  %s", place)
    print_next_command(
        "--mode=infer", f"--saved_model_dir={place}", "--input_image=IMAGE.jpg", "--output_image_dir=segments"
    )
    return place

"""--mode=infer: detection in images or a video, written in several formats."""

from pathlib import Path

from absl import logging
from tqdm import tqdm

from efficientdet_pipeline.commands.video import drawing, infer_video
from efficientdet_pipeline.console import is_terminal
from efficientdet_pipeline.inference.detection_files import read_detections_json
from efficientdet_pipeline.inference.detector import LoadedDetector, load_detector
from efficientdet_pipeline.inference.image_io import find_images, output_names, read_images
from efficientdet_pipeline.inference.results import ImageDetections, count_classes, describe_no_detections
from efficientdet_pipeline.inference.sinks import SinkWriter, build_sinks
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.infer import InferOptions, is_video
from efficientdet_pipeline.options.parser import Sources
from tfrmod.counted import counted

DETECTIONS = "detections.json"


def run(options: InferOptions, read: Sources, hparams: HparamsGiven) -> None:
    """Detects objects in the images or the video that the options name."""
    del read
    from efficientdet_pipeline.commands.infer_classes import infer_class_network

    if infer_class_network(options):
        return
    if is_video(options.input_image):
        infer_video(options, hparams)
    else:
        infer_images(options, hparams)


def infer_images(options: InferOptions, hparams: HparamsGiven) -> None:
    """Detects objects in images, and writes the results."""
    images = find_images(options.input_image)
    folder = Path(options.output_image_dir).expanduser()
    detector = load_detector(options, hparams)
    draw = drawing(options.drawing, detector.label_map)
    sinks = build_sinks(options.result_names(), detector.label_map, draw)
    writer = SinkWriter(folder, sinks, images, thresholds=detector.thresholds, known=_written_before(folder))
    num_read = num_empty = 0
    pixels = tqdm(
        read_images(images, options.input_image),
        total=len(images),
        unit="image",
        leave=False,
        disable=not is_terminal(),
    )
    for path, image, found in detector.detect_each(pixels, options.batch_size or InferOptions.batch_size):
        writer.write(path, image, found)
        shown = detector.thresholds.above(found)
        logging.info("%s: %s", path, count_classes(shown, detector.label_map) or _nothing(found, detector))
        num_read += 1
        num_empty += not len(shown.scores)
    writer.close()
    if num_empty:
        logging.info(
            "Without detections above the threshold: %s; a lower --min_score_thresh keeps more.",
            counted(num_empty, "image"),
        )
    logging.info("%s: %s in %s", counted(num_read, "image"), ", ".join(options.result_names()), folder)


def _nothing(found: ImageDetections, detector: LoadedDetector) -> str:
    limit = None if detector.thresholds.by_class else detector.thresholds.default
    return describe_no_detections(found, limit, detector.label_map)


def _written_before(folder: Path) -> set[str]:
    """Returns the files listed in detections.json; earlier versions recorded nothing else."""
    records = read_detections_json(folder / DETECTIONS)
    if not records:
        return set()
    return {DETECTIONS, *output_names(Path(record["image"]) for record in records)}

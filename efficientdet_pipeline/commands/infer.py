"""--mode=infer: detections drawn on photos, and written as JSON."""

from pathlib import Path
from typing import Any

from absl import logging
from tqdm import tqdm

from efficientdet_pipeline.commands.network import read_network, trained_weights
from efficientdet_pipeline.commands.shards import named_classes
from efficientdet_pipeline.console import is_terminal
from efficientdet_pipeline.errors import DataError, MissingError
from efficientdet_pipeline.inference.detected import ImageDetections, image_record, per_image, write_detections_json
from efficientdet_pipeline.inference.draw import draw_detections
from efficientdet_pipeline.inference.images import find_images, output_paths, read_image, write_image
from efficientdet_pipeline.inference.runners import Runner, label_map_beside, load_runner
from efficientdet_pipeline.options.reader import Sources

DETECTIONS = "detections.json"


def run(options: Any, read: Sources, hparams: Any) -> None:
    """Detects objects in the photos that the options name."""
    images = find_images(options.input_image)
    folder = Path(options.output_image_dir).expanduser()
    paths = output_paths(images, folder)
    runner, label_map = _runner(options, hparams)
    folder.mkdir(parents=True, exist_ok=True)
    found, faults = [], []
    for image, path in zip(tqdm(images, unit="photo", leave=False, disable=not is_terminal()), paths, strict=True):
        try:
            photo = read_image(image)
        except DataError as error:
            if len(images) == 1:
                raise
            # One bad photo among many must not cost the others.
            logging.warning("%s", error)
            faults.append(image)
            continue
        detected = per_image(runner.detect(photo[None]))[0]
        found.append(image_record(image, photo.shape[:2], detected, label_map))
        drawn = _best(detected.above(options.min_score_thresh), options.max_boxes_to_draw)
        write_image(
            path, draw_detections(photo, drawn.boxes, drawn.class_ids, drawn.scores, label_map=label_map, min_score=0.0)
        )
        logging.info("%s: %s", path, _summary(drawn, label_map))
    write_detections_json(folder / DETECTIONS, found)
    logging.info("%d photos drawn; every detection is in %s", len(found), folder / DETECTIONS)
    if faults and not found:
        raise DataError(f"None of the {len(faults)} photos that {options.input_image!r} names could be read.")


def _runner(options: Any, hparams: Any) -> tuple[Runner, dict[int, str]]:
    if options.saved_model_dir:
        path = Path(options.saved_model_dir).expanduser()
        if not path.exists():
            raise MissingError(f"There is no export {options.saved_model_dir!r}. Check --saved_model_dir.")
        return load_runner(path), named_classes(hparams.label_map) or label_map_beside(path) or {}
    weights, description, _ = trained_weights(options)
    network = read_network(description, options, hparams)
    logging.info("Detecting with %s", weights)
    return load_runner(weights, network.config), network.label_map or named_classes(hparams.label_map)


def _best(detected: ImageDetections, count: int) -> ImageDetections:
    return ImageDetections(*(part[:count] for part in detected))


def _summary(detected: ImageDetections, label_map: dict[int, str]) -> str:
    counts: dict[str, int] = {}
    for class_id in detected.class_ids.tolist():
        name = label_map.get(class_id, str(class_id))
        counts[name] = counts.get(name, 0) + 1
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing found"

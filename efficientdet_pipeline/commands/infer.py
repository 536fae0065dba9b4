"""--mode=infer: detections drawn on photos, and written as JSON."""

from pathlib import Path

from absl import logging
from tqdm import tqdm

from efficientdet_pipeline.console import is_terminal
from efficientdet_pipeline.errors import DataError, MissingError, OptionsError
from efficientdet_pipeline.inference.image_io import find_images, output_names, output_paths, read_image, write_image
from efficientdet_pipeline.inference.predictor import Predictor, detect_image, load_predictor
from efficientdet_pipeline.inference.results import (
    ImageDetections,
    class_name,
    describe_no_detections,
    image_record,
    read_detections_json,
    write_coco_results,
    write_detections_json,
)
from efficientdet_pipeline.models.build import read_network
from efficientdet_pipeline.models.class_names import chosen_class_names, described_beside
from efficientdet_pipeline.models.weights import trained_weights
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.infer import DetectorOptions, InferOptions
from efficientdet_pipeline.options.parser import Sources
from efficientdet_pipeline.runs.output_files import check_output_files, note_output_files
from efficientdet_pipeline.visualize.boxes import draw_detections
from tfrmod.replacement import finish_replacement

DETECTIONS = "detections.json"
COCO_RESULTS = "detections_coco.json"


def run(options: InferOptions, read: Sources, hparams: HparamsGiven) -> None:
    """Detects objects in the photos that the options name."""
    images = find_images(options.input_image)
    folder = Path(options.output_image_dir).expanduser()
    paths = output_paths(images, folder)
    names = [DETECTIONS, COCO_RESULTS, *(path.name for path in paths)]
    earlier = check_output_files(folder, names, option="output_image_dir", known=_drawn_before(folder))
    runner, label_map = load_detector(options, hparams)
    note_output_files(folder, names, earlier)
    classes = chosen_class_ids(options.detection.classes, label_map)
    found, faults, num_empty = [], [], 0
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
        detected = detect_image(runner, photo, classes)
        found.append(image_record(image, photo.shape[:2], detected, label_map))
        above = detected.above(options.detection.min_score_thresh)
        drawn = _best(above, options.max_boxes_to_draw)
        write_image(
            path, draw_detections(photo, drawn.boxes, drawn.class_ids, drawn.scores, label_map=label_map, min_score=0.0)
        )
        nothing = describe_no_detections(detected, options.detection.min_score_thresh, label_map)
        logging.info("%s: %s", path, _summary(above, label_map) or nothing)
        num_empty += not len(above.scores)
    write_detections_json(folder / DETECTIONS, found)
    write_coco_results(folder / COCO_RESULTS, found)
    note_output_files(folder, (), {*names, *earlier})
    if num_empty:
        logging.info("A lower --min_score_thresh draws more: nothing was drawn on %d images.", num_empty)
    logging.info(
        "%d images drawn; every detection is in %s, and as COCO's result list in %s",
        len(found),
        folder / DETECTIONS,
        folder / COCO_RESULTS,
    )
    if faults and not found:
        raise DataError(f"None of the {len(faults)} photos that {options.input_image!r} names could be read.")


def load_detector(options: DetectorOptions, hparams: HparamsGiven) -> tuple[Predictor, dict[int, str]]:
    """Returns the detector that the options name, a checkpoint or an export, and its class names by id."""
    if options.detection.saved_model_dir:
        path = Path(options.detection.saved_model_dir).expanduser()
        for folder in (path, path.parent):
            finish_replacement(folder)  # Of an export that was killed.
        if not path.exists():
            raise MissingError(f"There is no export {options.detection.saved_model_dir!r}. Check --saved_model_dir.")
        own, num_classes, place = described_beside(path)
        names = chosen_class_names(hparams, own, num_classes=num_classes, described_by=place)
        return load_predictor(path, is_trusted=options.detection.trust_model), names
    trained = trained_weights(options.checkpoint, options.run)
    network = read_network(trained.description, options.model, hparams)
    logging.info("Detecting with %s", trained.path)
    return load_predictor(trained.path, network.config, is_trusted=options.detection.trust_model), network.label_map


def _drawn_before(folder: Path) -> set[str]:
    """Returns the files that detections.json tells of; earlier versions noted nothing else."""
    records = read_detections_json(folder / DETECTIONS)
    if not records:
        return set()
    return {DETECTIONS, *output_names(Path(record["image"]) for record in records)}


def _best(detected: ImageDetections, count: int) -> ImageDetections:
    return ImageDetections(*(part[:count] for part in detected))


def _summary(detected: ImageDetections, label_map: dict[int, str]) -> str:
    counts: dict[str, int] = {}
    for class_id in detected.class_ids.tolist():
        name = label_map.get(class_id, str(class_id))
        counts[name] = counts.get(name, 0) + 1
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def chosen_class_ids(given: str, label_map: dict[int, str]) -> set[int]:
    """Returns the ids of the classes that are asked for by name or id; none where all are."""
    by_name = {name: class_id for class_id, name in label_map.items()}
    wanted = [word for word in map(str.strip, given.split(",")) if word]
    known = {word: by_name.get(word, int(word) if word.isdecimal() else 0) for word in wanted}
    unknown = [word for word, class_id in known.items() if class_id < 1 or (label_map and class_id not in label_map)]
    names = [f"{class_id} {name}" for class_id, name in sorted(label_map.items())]
    if unknown:
        listed = f"{', '.join(names[:20])}{' …' if len(names) > 20 else ''}" or "ids from 1 on, for it has no names"
        raise OptionsError(
            f"classes must name classes of the detector. Received {unknown[0]!r}; known: {listed}.", option="classes"
        )
    if known:
        shown = ", ".join(f"{class_id} {class_name(class_id, label_map)}" for class_id in sorted(known.values()))
        logging.info("Detecting these classes only: %s", shown)
    return set(known.values())

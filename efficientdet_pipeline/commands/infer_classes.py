"""What --mode=infer does with a segmentation or classification network."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import logging
from tqdm import tqdm

from efficientdet_pipeline.console import is_terminal
from efficientdet_pipeline.inference.class_predictor import ClassPredictor, checkpoint_predictor, exported_predictor
from efficientdet_pipeline.inference.classification import best_classes
from efficientdet_pipeline.inference.image_io import find_images, output_names, read_images, write_image
from efficientdet_pipeline.inference.segmentation import coco_segments, write_class_map
from efficientdet_pipeline.models.class_networks import class_weights_of
from efficientdet_pipeline.models.classification import ClassificationNetwork
from efficientdet_pipeline.options.infer import InferOptions
from efficientdet_pipeline.runs.output_files import check_output_files, note_output_files
from efficientdet_pipeline.visualize.semantic_map import overlay_classes
from tfrmod import fileio
from tfrmod.counted import counted

CLASSES = "classes.json"
TOP = 5
SEGMENTS = "segments.json"
MASKS = "masks"


def infer_class_network(options: InferOptions) -> bool:
    """Predicts by the segmentation or classification network that the options name; returns False for a detector."""
    chosen = options.detection
    if chosen.saved_model_dir:
        path, threads = Path(chosen.saved_model_dir).expanduser(), chosen.threads or None
        predictor = exported_predictor(path, is_trusted=chosen.trust_model, num_threads=threads)
    else:
        trained = class_weights_of(options.checkpoint, options.run)
        predictor = checkpoint_predictor(trained) if trained is not None else None
    if predictor is None:
        return False
    if isinstance(predictor.network, ClassificationNetwork):
        infer_classes(options, predictor, predictor.network)
    else:
        infer_segmentation(options, predictor)
    return True


def infer_segmentation(options: InferOptions, predictor: ClassPredictor) -> None:
    """Writes overlays, class maps (masks/) and COCO segments of the images that the options name."""
    images = find_images(options.input_image)
    folder = Path(options.output_image_dir).expanduser()
    pictures = output_names(images)
    # a.jpg and a.png have a mask each.
    masks = [f"{MASKS}/{name}" for name in output_names(Path(name).with_suffix(".png") for name in pictures)]
    names = [*pictures, *masks, SEGMENTS]
    earlier = check_output_files(folder, names, option="output_image_dir")
    note_output_files(folder, names, earlier)
    (folder / MASKS).mkdir(exist_ok=True)
    label_map, segments, num_read = predictor.network.label_map, [], 0
    place_of = dict(zip(images, zip(pictures, masks, strict=True), strict=True))
    times = Counter(path.name for path in images)
    for path, image in _watched(images, options):
        picture, mask = place_of[path]
        num_read += 1
        class_map, chances = predictor.class_map(image)
        write_class_map(folder / mask, class_map)
        write_image(folder / picture, overlay_classes(image, class_map, background=predictor.background))
        found = coco_segments(
            class_map,
            label_map,
            # Images of one name in several folders are distinguished by the names of their overlays.
            image_id=path.name if times[path.name] == 1 else picture,
            background=predictor.background,
            chances=chances,
        )
        segments += found
        shares = (f"{each['category_name']} {each['area'] / class_map.size:.1%}" for each in found)
        logging.info("%s: %s", path, ", ".join(shares) or "background alone")
    fileio.write_file(folder / SEGMENTS, json.dumps(segments, ensure_ascii=False) + "\n")
    logging.info("%s: overlays, %s/ and %s in %s", counted(num_read, "image"), MASKS, SEGMENTS, folder)


def infer_classes(options: InferOptions, predictor: ClassPredictor, network: ClassificationNetwork) -> None:
    """Writes the best classes of the images that the options name to classes.json."""
    images = find_images(options.input_image)
    folder = Path(options.output_image_dir).expanduser()
    earlier = check_output_files(folder, [CLASSES], option="output_image_dir")
    note_output_files(folder, [CLASSES], earlier)
    found: list[dict[str, object]] = []
    for path, image in _watched(images, options):
        classes = best_classes(predictor.probabilities(image), network.names, TOP)
        found.append({"image": str(path), "classes": [each._asdict() for each in classes]})
        logging.info("%s: %s %.1f%%", path, classes[0].name, 100 * classes[0].score)
    fileio.write_file(folder / CLASSES, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    logging.info("%s: %s in %s", counted(len(found), "image"), CLASSES, folder)


def _watched(images: list[Path], options: InferOptions) -> Iterator[tuple[Path, np.ndarray]]:
    """Yields path and pixels of each image; a progress bar counts them where somebody watches."""
    read = read_images(images, options.input_image)
    yield from tqdm(read, total=len(images), unit="image", leave=False, disable=not is_terminal())

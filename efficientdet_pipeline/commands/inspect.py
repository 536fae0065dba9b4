"""--mode=inspect: what is in the shards, drawn as the network sees it; what a network costs."""

from pathlib import Path
from typing import Any

import efficientdet
import numpy as np
import tensorflow as tf
from absl import logging
from efficientdet.cost import model_cost
from efficientdet.inputs import fit_to_canvas

from efficientdet_pipeline.commands.network import Network, describe, model_name
from efficientdet_pipeline.commands.shards import named_classes
from efficientdet_pipeline.commands.variation import variation
from efficientdet_pipeline.data.batches import boxes_in_pixels
from efficientdet_pipeline.data.order import all_records
from efficientdet_pipeline.data.records import decode_photo, parse_record
from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.inference.draw import draw_detections
from efficientdet_pipeline.inference.images import write_image
from efficientdet_pipeline.inference.pictures import contact_sheet
from efficientdet_pipeline.options.hparams import network_overrides
from efficientdet_pipeline.options.reader import Sources
from efficientdet_pipeline.options.train import TrainOptions
from efficientdet_pipeline.runs import records
from efficientdet_pipeline.runs.folder import find_run
from tfrmod import manifest


def run(options: Any, read: Sources, hparams: Any) -> None:
    """Shows the records or the model."""
    if options.what == "model":
        _show_model(describe(model_name(options), network_overrides(options, hparams), {}))
    else:
        _show_records(options, hparams)


def _show_model(network: Network) -> None:
    logging.info("%s", model_cost(efficientdet.build_model(network.config)).table())


def _show_records(options: Any, hparams: Any) -> None:
    files, used = _files(options)
    counts = manifest.count_shards(",".join(files))
    label_map = named_classes(hparams.label_map) or counts.label_map
    network = describe(
        used.get("model_name") or model_name(options),
        {"num_classes": max(1, counts.num_classes), **_used_size(used), **network_overrides(options, hparams)},
        label_map,
    )
    show = _as_evaluated(network) if options.eval else _as_trained(network, options, used)
    folder = Path(options.save_samples_dir)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for number, serialized in enumerate(all_records(files).take(options.samples)):
        image, boxes, class_ids = show(serialized, number)
        picture = draw_detections(image, boxes, class_ids, label_map=label_map)
        write_image(folder / f"sample{number}.jpg", picture)
        drawn.append(picture)
    write_image(folder / "samples.png", contact_sheet(drawn))
    logging.info(
        "%d photos, %d of them without objects, %d boxes (%s)",
        counts.num_images,
        counts.num_negatives,
        counts.num_boxes,
        ", ".join(f"{name} {count:,}" for name, count in counts.boxes_per_class.items()),
    )
    logging.info("%d samples drawn in %s", len(drawn), folder)


def _files(options: Any) -> tuple[list[str], dict[str, Any]]:
    """Returns the shards, and the options of the run they belong to."""
    if options.file_pattern:
        return [str(path) for path in manifest.shard_files(options.file_pattern)], {}
    folder = find_run(options)
    used = records.read_args(folder.args)
    if folder.manifest.exists():
        made = manifest.Manifest.load(folder.manifest)
        split = "val" if options.eval and "val" in made.splits else "train"
        return [str(made.folder / shard.name) for shard in made.splits[split].files], used
    pattern = used.get("val_file_pattern" if options.eval else "train_file_pattern")
    if not pattern:
        raise OptionsError(
            f"file_pattern must name shards. Received nothing, and the run {folder.path} has none; "
            "try --file_pattern='shards/train-*'.",
            option="file_pattern",
        )
    return [str(path) for path in manifest.shard_files(pattern)], used


def _used_size(used: dict[str, Any]) -> dict[str, Any]:
    return {"image_size": used["image_size"]} if used.get("image_size") else {}


def _as_evaluated(network: Network) -> Any:
    def show(serialized: tf.Tensor, number: int) -> Any:
        record = parse_record(serialized)
        photo = decode_photo(record.encoded)
        image, scale = fit_to_canvas(photo, network.config)
        return _pixels(image, network), (boxes_in_pixels(record, photo) / scale).numpy(), record.class_ids.numpy()

    return show


def _as_trained(network: Network, options: Any, used: dict[str, Any]) -> Any:
    known = {name: value for name, value in used.items() if name in TrainOptions.__dataclass_fields__}
    vary = variation(TrainOptions(**{**known, "mode": "train", "url_dataset": "inspected"}), network.config)

    def show(serialized: tf.Tensor, number: int) -> Any:
        record = parse_record(serialized)
        photo = decode_photo(record.encoded)
        seed = tf.constant([options.tf_random_seed, number], tf.int64)
        image, boxes, class_ids = vary(photo, boxes_in_pixels(record, photo), record.class_ids, seed)
        return _pixels(image, network), boxes.numpy(), class_ids.numpy()

    return show


def _pixels(image: tf.Tensor, network: Network) -> np.ndarray:
    """Returns a normalised canvas as the pixels it shows."""
    config = network.config
    values = np.asarray(image)
    if config.scale_range:
        values = (values + 1.0) * (255.0 / 2.0)
    values = values * np.asarray(config.stddev_rgb) + np.asarray(config.mean_rgb)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)

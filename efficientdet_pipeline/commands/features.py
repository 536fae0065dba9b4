"""--mode=features: EfficientNet features of images, drawings of their channels, and a test for trained weights."""

from pathlib import Path

import numpy as np
from absl import logging

from efficientdet_pipeline.console import say
from efficientdet_pipeline.inference.features import (
    channel_grid,
    extract_reductions,
    find_layer,
    layer_map,
    named_layers,
    network_input,
    trained_statistic,
    write_arrays,
    write_reductions,
)
from efficientdet_pipeline.inference.image_io import find_images, output_names, read_images, write_image
from efficientdet_pipeline.inference.imagenet_weights import LoadedEncoder, load_encoder, place_of
from efficientdet_pipeline.options.hparams import HparamsGiven
from efficientdet_pipeline.options.imagenet import FeaturesOptions
from efficientdet_pipeline.options.parser import Sources
from efficientdet_pipeline.runs.output_files import check_output_files, note_output_files


def run(options: FeaturesOptions, read: Sources, hparams: HparamsGiven) -> None:
    """Writes the features of each image."""
    del read, hparams
    network = place_of(options.network, options.run)
    if options.layer == "list":
        say("\n".join(named_layers(load_encoder(network).model)))
        return
    images = find_images(options.input_image)
    folder = Path(options.output_dir).expanduser()
    names = output_names(images)
    endings = [".npz", ".channels.png", *((".layer.npz", ".layer.png") if options.layer else ())]
    files = [f"{name}{ending}" for name in names for ending in endings]
    earlier = check_output_files(folder, files, option="output_dir")
    encoder = load_encoder(network)
    if options.layer:
        find_layer(encoder.model, options.layer)
    say(str(trained_statistic(encoder.model)))
    note_output_files(folder, files, earlier)
    num_written, name_of = 0, dict(zip(images, names, strict=True))
    try:
        for path, pixels in read_images(images, options.input_image):
            _write(encoder, pixels, folder / name_of[path], options)
            num_written += 1
    finally:
        # Only files that were written are recorded as ours.
        note_output_files(folder, (), {*files, *earlier})
    logging.info("Features written to %s, images: %d", folder, num_written)


def _write(encoder: LoadedEncoder, pixels: np.ndarray, path: Path, options: FeaturesOptions) -> None:
    """Writes the files of one image, whose names start with `path`."""
    inputs = network_input(pixels, encoder.name, advprop=options.network.advprop)
    reductions = extract_reductions(encoder.model, inputs)
    write_reductions(f"{path}.npz", reductions)
    write_image(f"{path}.channels.png", channel_grid(reductions[options.level], count=options.channels))
    shapes = ", ".join("x".join(map(str, each.shape)) for each in reductions.values())
    logging.info("%s.npz: reductions 1 to 5 of %dx%d px: %s", path, *pixels.shape[:2], shapes)
    if options.layer:
        found = layer_map(encoder.model, inputs, options.layer)
        write_arrays(f"{path}.layer.npz", {"map": found})
        # Within squeeze-excite a layer returns one number per channel.
        picture = found if found.ndim == 3 else found.reshape(1, 1, -1)
        write_image(f"{path}.layer.png", channel_grid(picture, count=options.channels))
        logging.info("%s.layer.npz: %s, %s", path, options.layer, "x".join(map(str, found.shape)))

"""Benchmark of segmentation on real images: U-Net with EfficientNet-B0 on the 2018 Data Science Bowl, from scratch.

Trains with plain Keras `fit` on 266 images at 256 px and reports IoU and the other metrics of the 53 validation images,
each evaluated at its own size. `--step_time` compares a training step with that of the same network built from plain
Keras layers instead.

    EFFICIENTDET_TEST_DATA=data python3 benchmarks/nuclei_segmentation.py --output=nuclei.json
    python3 benchmarks/nuclei_segmentation.py --step_time
"""

import argparse
import io
import json
import os
import statistics
import sys
import time
import zipfile
from pathlib import Path

os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")

import keras
import numpy as np
import tensorflow as tf
from efficientdet.imagenet import imagenet_config
from efficientdet.layers import BatchNormalization
from efficientdet.segmentation_losses import SegmentationLossOptions, parse_loss, segmentation_loss
from efficientdet.unet import UNetConfig, build_unet
from PIL import Image

from efficientdet_pipeline.augment.resize import normalize
from efficientdet_pipeline.augment.semantic_map import (
    IGNORE_ID,
    SemanticAugmentConfig,
    SemanticSample,
    semantic_augmenter,
)
from efficientdet_pipeline.evaluation.segmentation_metrics import SegmentationEvaluator, SegmentationMetrics

CONFIG = imagenet_config("efficientnet-b0")
SIDE = 256


def read_images(archive: Path, split: str) -> list[SemanticSample]:
    """Returns the images and maps of a split."""
    samples = []
    with zipfile.ZipFile(archive) as file:
        for name in file.read(f"splits/{split}.txt").decode().split():
            stem = Path(name).stem
            image, mask = (Image.open(io.BytesIO(file.read(f"{kind}/{stem}.png"))) for kind in ("images", "masks"))
            samples.append(SemanticSample(np.asarray(image.convert("RGB")), np.asarray(mask)))
    return samples


def training_batches(samples: list[SemanticSample], batch_size: int) -> tf.data.Dataset:
    """Returns endless batches of canvases and maps."""
    config = SemanticAugmentConfig(
        canvas_size=(SIDE, SIDE),
        jitter_min=0.8,
        jitter_max=2.0,
        vertical_flip=0.5,
        rotation=15,
        hsv_hue=0.05,
        hsv_saturation=0.3,
        hsv_value=0.3,
    )
    vary = semantic_augmenter(config)
    signature = SemanticSample(tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((None, None), tf.uint8))

    def prepared(number: tf.Tensor, sample: SemanticSample) -> tuple[tf.Tensor, tf.Tensor]:
        canvas = vary(SemanticSample(*sample), tf.stack([tf.constant(0, tf.int64), number]))
        image = normalize(canvas.image, canvas.valid_size, mean=CONFIG.mean_rgb, std=CONFIG.stddev_rgb)
        return image, canvas.semantic_map[..., None]

    dataset = tf.data.Dataset.from_generator(lambda: iter(samples), output_signature=signature).cache()
    dataset = dataset.shuffle(len(samples), seed=0).repeat().enumerate()
    return dataset.map(prepared, num_parallel_calls=2).batch(batch_size, drop_remainder=True).prefetch(2)


def evaluate(model: keras.Model, samples: list[SemanticSample]) -> SegmentationMetrics:
    """Returns the metrics of images at their own size."""
    predict = tf.function(lambda image: model(image, training=False), reduce_retracing=True)
    evaluator = SegmentationEvaluator(2)
    for image, semantic_map in samples:
        size = tf.constant(image.shape[:2])
        logits = predict(normalize(image, size, mean=CONFIG.mean_rgb, std=CONFIG.stddev_rgb)[None])
        evaluator.add(semantic_map, (logits[0, :, :, 0] >= 0).numpy().astype(np.uint8))
    return evaluator.metrics()


def loss_function(terms: str) -> "keras.losses.Loss | object":
    """Returns the loss for `compile`."""
    options = SegmentationLossOptions(terms=parse_loss(terms), ignore_id=IGNORE_ID)
    # Keras would squeeze logits with one column to the rank of the labels.
    return lambda labels, logits: segmentation_loss(logits, labels[..., 0], options)["loss"]


def train(args: argparse.Namespace) -> dict[str, object]:
    """Trains, evaluates and returns the results."""
    archive = Path(args.data) / "nuclei_seg.zip"
    training, validation = read_images(archive, "train"), read_images(archive, "val")
    keras.utils.set_random_seed(args.seed)
    model = build_unet(UNetConfig())
    for layer in model._flatten_layers():
        if isinstance(layer, BatchNormalization):
            layer.momentum = 0.95  # A thousand steps are too few for a momentum of 0.99.
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, args.steps, alpha=0.01, warmup_target=args.learning_rate, warmup_steps=args.steps // 20
    )
    model.compile(keras.optimizers.Adam(schedule, global_clipnorm=5.0), loss_function(args.loss), jit_compile=False)
    steps_per_epoch = len(training) // args.batch_size
    start, cpu_start = time.perf_counter(), time.process_time()
    model.fit(
        training_batches(training, args.batch_size),
        steps_per_epoch=steps_per_epoch,
        epochs=max(1, args.steps // steps_per_epoch),
        verbose=2,
    )
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    metrics = evaluate(model, validation)
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "steps": args.steps,
        "train_images": len(training),
        "val_images": len(validation),
        **metrics.values({0: "background", 1: "nucleus"}),
    }


def plain_unet() -> keras.Model:
    """Returns the same network built from Keras layers, with random weights."""
    encoder = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(SIDE, SIDE, 3))
    image = encoder.input

    def block(x: keras.KerasTensor, filters: int) -> keras.KerasTensor:
        y = x
        for _ in range(2):
            y = keras.layers.Conv2D(filters, 3, padding="same")(y)
            y = keras.layers.ReLU()(keras.layers.BatchNormalization()(y))
        return keras.layers.Add()([y, keras.layers.Conv2D(filters, 1)(x)])

    x = block(encoder.get_layer("block7a_project_bn").output, 320)
    skips = {"block5c_add": 112, "block3b_add": 40, "block2b_add": 24, "block1a_project_bn": 16}
    for name, filters in skips.items():
        x = keras.layers.Concatenate()([keras.layers.UpSampling2D()(x), encoder.get_layer(name).output])
        x = block(x, filters)
    x = block(keras.layers.Concatenate()([keras.layers.UpSampling2D()(x), image]), 16)
    return keras.Model(image, keras.layers.Conv2D(1, 1)(x))


def compare_steps(args: argparse.Namespace) -> dict[str, object]:
    """Returns the median times of a training step of both networks, interleaved."""
    generator = np.random.default_rng(0)
    images = generator.normal(size=(args.batch_size, SIDE, SIDE, 3)).astype("float32")
    labels = generator.integers(0, 2, (args.batch_size, SIDE, SIDE, 1))
    models = {"unet": build_unet(UNetConfig()), "plain_keras": plain_unet()}
    # Rescaling and normalization of keras.applications have seven parameters.
    if models["plain_keras"].count_params() - 7 != models["unet"].count_params():
        sys.exit("The two networks differ; their times are not comparable.")
    times: dict[str, list[float]] = {name: [] for name in models}
    for model in models.values():
        model.compile(keras.optimizers.Adam(1e-3), loss_function("bce"), jit_compile=False)
        for _ in range(3):
            model.train_on_batch(images, labels)
    for _ in range(args.rounds):
        for name, model in models.items():
            start = time.perf_counter()
            model.train_on_batch(images, labels)
            times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    return {**medians, "ratio": medians["unet"] / medians["plain_keras"], "rounds": args.rounds}


def main() -> None:
    """Prints and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("EFFICIENTDET_TEST_DATA", ""))
    parser.add_argument("--steps", type=int, default=693)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--learning_rate", type=float, default=2e-3)
    parser.add_argument("--loss", default="bce+dice")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--step_time", action="store_true")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--output", default="")
    args = parser.parse_args()
    if not args.data and not args.step_time:
        sys.exit("EFFICIENTDET_TEST_DATA, or --data, must name the folder that contains nuclei_seg.zip.")
    found = compare_steps(args) if args.step_time else train(args)
    print(json.dumps(found, indent=1))
    if args.output:
        Path(args.output).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

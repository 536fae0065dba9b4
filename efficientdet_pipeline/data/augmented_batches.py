"""Training batches of shards, without a run: augmented by default, for notebooks."""

from typing import TYPE_CHECKING

from efficientdet.config import DetectorConfig

if TYPE_CHECKING:
    import tensorflow as tf


def load_batches(file_pattern: str, config: DetectorConfig, *, batch_size: int = 8, seed: int = 0) -> "tf.data.Dataset":
    """Yields (images, GroundTruth), endless, with the default augmentation of training.

    Args:
      file_pattern: glob of shards, as written by `edp.convert`.
      config: of the network: canvas and normalization.
      batch_size: images per batch.
      seed: of order and augmentation; the same seed gives the same batches.
    """
    from efficientdet_pipeline.data.dataset_stats import read_shard_stats
    from efficientdet_pipeline.data.input_pipeline import InputConfig, build_augmenter, training_batches
    from efficientdet_pipeline.options.augmentation import AugmentationOptions
    from tfrmod.manifest import shard_files

    files = tuple(map(str, shard_files(file_pattern)))
    most = max(1, int(read_shard_stats(files).num_boxes.max(initial=0)))
    stream = InputConfig(files=files, batch_size=batch_size, max_instances=most, canvas=config.image_size, seed=seed)
    return training_batches(stream, build_augmenter(AugmentationOptions(), config))

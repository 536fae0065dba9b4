"""How a training photo is varied: the augmentations that the options ask for, as one function."""

from typing import Any

from efficientdet.config import DetectorConfig

from efficientdet_pipeline.augment import AugmentOptions, Sample, canvas_augmenter, normalize


def variation(options: Any, config: DetectorConfig) -> Any:
    """Returns photo, boxes, class ids, seed → normalised canvas, boxes, class ids."""
    augment = canvas_augmenter(
        AugmentOptions(
            input_rand_hflip=options.input_rand_hflip,
            jitter_min=options.jitter_min,
            jitter_max=options.jitter_max,
            autoaugment_policy=options.autoaugment_policy,
            grid_mask=options.grid_mask,
        ),
        config.image_size,
    )

    def vary(photo: Any, boxes: Any, class_ids: Any, seed: Any) -> Any:
        canvas = augment(Sample(photo, boxes, class_ids), seed)
        image = normalize(
            canvas.image, canvas.valid_size, mean=config.mean_rgb, std=config.stddev_rgb, scale_range=config.scale_range
        )
        return image, canvas.boxes, canvas.class_ids

    return vary

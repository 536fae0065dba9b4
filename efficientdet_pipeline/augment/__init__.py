"""Varying images and their boxes: pure TensorFlow, and a function of (sample, seed).

>>> change = canvas_augmenter(AugmentationOptions(autoaugment_policy="v0"), (512, 512))
>>> canvas = change(Sample(image, boxes, class_ids), partners, seed=(run_seed, sample_number))
>>> image = normalize(canvas.image, canvas.valid_size, mean=mean, std=std)
"""

import importlib
from typing import Any

# Loaded on first use: reading the options must not wait for TensorFlow.
_MODULE_OF = {
    "Sample": "sample",
    "Canvas": "sample",
    "Augmentation": "sample",
    "augmenter": "pipeline",
    "canvas_augmenter": "pipeline",
    "num_partners": "pipeline",
    "named_steps": "transforms",
    "normalize": "resize",
    "pad_to_canvas": "resize",
    "jitter_window": "resize",
    "crop_window": "resize",
    "horizontal_flip": "geometry",
    "autoaugment": "auto_augment",
    "randaugment": "auto_augment",
    "operation": "auto_augment",
    "OPERATIONS": "auto_augment",
    "grid_mask": "erase",
    "hsv_jitter": "color",
    "mosaic": "mosaic_mixup",
    "mixup": "mosaic_mixup",
    "copy_paste": "mosaic_mixup",
}

__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)

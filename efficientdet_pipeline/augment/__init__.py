"""Varying photos and their boxes: pure TensorFlow, and a function of (sample, seed).

>>> change = canvas_augmenter(AugmentationOptions(autoaugment_policy="v0"), (512, 512))
>>> canvas = change(Sample(image, boxes, class_ids), partners, seed=(run_seed, sample_number))
>>> picture = normalize(canvas.image, canvas.valid_size, mean=mean, std=std)
"""

import importlib
from typing import Any

# Loaded on first use: reading the options must not wait for TensorFlow.
_PAGE_OF = {
    "Sample": "sample",
    "Canvas": "sample",
    "Augmentation": "sample",
    "augmenter": "recipe",
    "canvas_augmenter": "recipe",
    "num_partners": "recipe",
    "named_steps": "steps",
    "normalize": "canvas",
    "pad_to_canvas": "canvas",
    "jitter_window": "canvas",
    "show_window": "canvas",
    "mirror": "flip",
    "autoaugment": "automatic",
    "randaugment": "automatic",
    "operation": "operations",
    "OPERATIONS": "operations",
    "grid_mask": "grid",
    "hsv_jitter": "hsv",
    "mosaic": "mixing",
    "mixup": "mixing",
    "copy_paste": "mixing",
}

__all__ = list(_PAGE_OF)


def __getattr__(name: str) -> Any:
    if name not in _PAGE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PAGE_OF[name]}"), name)

"""Augmentation of images and boxes in TensorFlow, deterministic in (sample, seed)."""

"""Augmentation of images and their boxes: pure TensorFlow, each a function of (sample, seed)."""

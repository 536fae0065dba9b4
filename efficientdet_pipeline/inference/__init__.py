"""Inference: image files to drawn and written detections, with checkpoints and exported models."""

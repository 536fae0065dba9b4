"""Detector heads: predictions at each location of the pyramid."""

HEADS = ("object_detection", "segmentation")
"""Valid names in the hparam `heads`."""

"""Heads: what the detector says of each place of the pyramid."""

HEADS = ("object_detection", "segmentation")
"""Names that the hparam `heads` may hold."""

"""The most that a data set may hold; more than any real one has, so that a hostile file ends soon."""

MAX_OBJECTS = 10_000
"""Objects on one image."""
MAX_CLASSES = 10_000
MAX_CLASS_ID = 2_000
"""Ids up to this one are kept, as COCO's 90 and LVIS's 1203 are; the network has an output for each number up to it."""
MAX_SAME_PROBLEMS = 1_000
"""Problems of one kind that are listed one by one for each annotation file; the others are counted."""

"""Names of the files that compression adds to a run."""

RANGES = "ranges.json"
"""File of the learnt ranges of activations beside the weights of a checkpoint."""

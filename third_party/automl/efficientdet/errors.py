"""The detector's own error."""


class CheckpointError(Exception):
    """A checkpoint cannot be read, or is not one of this model; the model is unchanged."""

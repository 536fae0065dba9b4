"""The detector's own errors."""


class CheckpointError(Exception):
    """A checkpoint cannot be read, or is not one of this model; the model is unchanged."""


class NetworkError(CheckpointError):
    """A checkpoint lies on the web, and the web does not answer."""


class CheckpointUnavailableError(NetworkError):
    """A checkpoint is not in the cache and cannot be fetched; the sentence says where to put it by hand."""

    missing = True

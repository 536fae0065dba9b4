"""The detector's own errors."""

from collections.abc import Sequence


class CheckpointError(Exception):
    """A checkpoint cannot be read, or is not one of this model; the model is unchanged."""


class CheckpointMismatchError(CheckpointError):
    """A checkpoint is one of another model."""

    def __init__(self, message: str, likely_models: Sequence[str] = ()) -> None:
        """Keeps the message, and the names of the models that the checkpoint may be of."""
        super().__init__(message)
        self.likely_models = tuple(likely_models)


class NetworkError(CheckpointError):
    """A checkpoint lies on the web, and the web does not answer."""


class CheckpointUnavailableError(NetworkError):
    """A checkpoint is not in the cache and cannot be fetched; the sentence says where to put it by hand."""

    missing = True

    def __init__(self, message: str, reason: str = "") -> None:
        """Keeps the message, and why nothing could be fetched: a few words of the system."""
        super().__init__(message)
        self.reason = reason

"""Exceptions of the detector."""

from collections.abc import Sequence


class CheckpointError(Exception):
    """A checkpoint is unreadable or belongs to another model; the model's weights are unchanged."""


class CheckpointMismatchError(CheckpointError):
    """A checkpoint belongs to another model."""

    def __init__(self, message: str, likely_models: Sequence[str] = ()) -> None:
        """Stores the message and the names of the models to which the checkpoint may belong."""
        super().__init__(message)
        self.likely_models = tuple(likely_models)


class NetworkError(CheckpointError):
    """A checkpoint could not be downloaded because of the network or the server."""


class CheckpointUnavailableError(NetworkError):
    """A checkpoint is not in the cache and cannot be downloaded; the message says where to place it manually."""

    missing = True

    def __init__(self, message: str, reason: str = "") -> None:
        """Stores the message and the reason of the failed download, as the system reports it."""
        super().__init__(message)
        self.reason = reason

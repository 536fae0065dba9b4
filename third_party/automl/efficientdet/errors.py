"""Exceptions of the detector."""

from collections.abc import Sequence


class CheckpointError(Exception):
    """A checkpoint is unreadable or belongs to another model; the model's weights are unchanged."""

    def __init__(self, finding: str, *, advice: str = "") -> None:
        """Stores what is wrong, and advice in terms of this library's arguments; the message is both.

        A program with options of its own shows `finding` with advice of its own.
        """
        super().__init__(f"{finding} {advice}" if advice else finding)
        self.finding = finding


class CheckpointMismatchError(CheckpointError):
    """A checkpoint belongs to another model."""

    def __init__(
        self,
        finding: str,
        likely_models: Sequence[str] = (),
        likely_backbones: Sequence[str] = (),
        *,
        advice: str = "",
    ) -> None:
        """Stores the message, and the names of models and backbones to which the checkpoint may belong."""
        super().__init__(finding, advice=advice)
        self.likely_models = tuple(likely_models)
        self.likely_backbones = tuple(likely_backbones)


class NetworkError(CheckpointError):
    """A checkpoint could not be downloaded because of the network or the server."""


class CheckpointUnavailableError(NetworkError):
    """A checkpoint is not in the cache and cannot be downloaded; the message says where to place it manually."""

    missing = True

    def __init__(self, message: str, reason: str = "") -> None:
        """Stores the message and the reason of the failed download, as the system reports it."""
        super().__init__(message)
        self.reason = reason

"""Exceptions of the converter."""


class DatasetError(Exception):
    """The dataset, or its path or URL, is invalid.

    The message is one paragraph for the user: what was expected, what was
    received, where, and what to try.
    """

    def __init__(self, message: str, *, missing: bool = False) -> None:
        """Stores the message.

        Args:
          message: complete sentences, shown unchanged.
          missing: whether the named path or URL does not exist.
        """
        super().__init__(message)
        self.missing = missing


class NetworkError(DatasetError):
    """The server did not respond; the same call may succeed later."""

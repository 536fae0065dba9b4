"""Exceptions of the converter."""


class DatasetError(Exception):
    """The data, or the way to them, is not as it must be.

    The message is one paragraph for the user: what was expected, what was
    found, where, and what to try.
    """

    def __init__(self, message: str, *, missing: bool = False) -> None:
        """Keeps the message.

        Args:
          message: whole sentences, shown as they are.
          missing: the named path or URL does not exist at all (a path, a URL).
        """
        super().__init__(message)
        self.missing = missing


class NetworkError(DatasetError):
    """The server did not answer; the same call may work later."""

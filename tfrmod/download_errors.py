"""Error messages of failed downloads, without secrets and control characters."""

import requests

from tfrmod.text import is_printable
from tfrmod.transfer_rate import SlowServerError
from tfrmod.urls import redact_urls

READ_SECONDS = 30.0
"""Timeout between two parts of a response."""


def error_reason(error: requests.exceptions.RequestException) -> str:
    """Returns the reason of a failed request, as the end of a sentence."""
    if isinstance(error, requests.exceptions.Timeout):
        return f"no answer within {READ_SECONDS:.0f} seconds"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke"
    if isinstance(error, requests.exceptions.ConnectionError):
        return f"no connection ({innermost_message(error)})"
    return shown_message(error)


def innermost_message(error: BaseException) -> str:
    """Returns the message of the system, below the layers that wrap it."""
    seen = error
    while seen.__context__ is not None:
        seen = seen.__context__
    return shown_message(seen)


def slow_server_message(error: BaseException | None) -> str | None:
    """Returns how slow a server was, if that is the cause of an error; else None."""
    while error is not None:
        if isinstance(error, SlowServerError):
            return str(error)
        error = error.__context__
    return None


def shown_message(error: BaseException) -> str:
    """Returns the message of an error, without the secrets of URLs in it."""
    return printable(redact_urls(str(error))).rstrip(".") or type(error).__name__


def printable(text: str) -> str:
    """Returns the text of a server without control characters, which could affect a terminal."""
    return "".join(letter if is_printable(letter) else "?" for letter in text)[:300]

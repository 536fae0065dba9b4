"""Redaction of URLs: removal of passwords, tokens and signatures."""

import hashlib
import re

HIDDEN = "***"
"""Replaces a secret."""

_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)"
    r"(?P<host>[^/?#]*)"
    r"(?P<path>[^?#]*)"
    r"(?:\?(?P<query>[^#]*))?"
    r"(?:\#(?P<fragment>.*))?",
    re.DOTALL,
)
# Up to a space, a quote or a bracket, where a URL in a sentence ends.
_URL_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>`|\\^{}]+")
# The remaining query of a URL with a space in it, and that of a failed request, which requests and urllib3 report
# without its host.
_QUERY_IN_TEXT = re.compile(r"(?<=\?)[\w.~%+-]+=[^\s\"'<>()]*")
_HASH = re.compile(r"sha256=[0-9a-fA-F]{1,64}", re.IGNORECASE)


def redact_url(text: str) -> str:
    """Returns a URL without user name, password and the values of its query; other text unchanged.

    All values of the query are replaced, since no list of names (token, sig,
    X-Amz-Signature, key, ...) is complete.

    >>> redact_url("https://me:secret@host/a.zip?token=abc&dl=1#sha256=12ab")
    'https://***@host/a.zip?token=***&dl=***#sha256=12ab'
    >>> redact_url("images/train.zip")
    'images/train.zip'
    """
    found = _URL.fullmatch(text)
    if found is None:
        return text
    user, at, host = found["host"].rpartition("@")
    path, parameters = found["path"], ""
    if not at and "@" in path and ":" in host:
        # A password with an unescaped slash: everything up to the last @ may be part of it.
        user, at, rest = (host + path).rpartition("@")
        host, slash, path = rest.partition("/")
        path = slash + path
    path, semicolon, parameters = path.partition(";")
    shown = found["scheme"] + (HIDDEN + at if user or at else "") + host + path
    shown += f";{_without_values(parameters)}" if semicolon else ""
    shown += f"?{_without_values(found['query'])}" if found["query"] is not None else ""
    if found["fragment"]:
        shown += "#" + (found["fragment"] if _HASH.fullmatch(found["fragment"]) else HIDDEN)
    return shown


def redact_urls(text: str) -> str:
    """Returns a text with all URLs redacted by `redact_url`.

    >>> redact_urls("no answer from 'ftp://me:secret@host/a.zip', tried 4 times")
    "no answer from 'ftp://***@host/a.zip', tried 4 times"
    """
    if "://" not in text and "url: /" not in text:
        return text
    text = _URL_IN_TEXT.sub(lambda found: redact_url(found[0]), text)
    return _QUERY_IN_TEXT.sub(lambda found: _without_values(found[0]), text)


def url_id(url: str) -> str:
    """Returns a hash of the full URL, secrets included, which distinguishes URLs with the same redacted form."""
    return hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()


def _without_values(query: str) -> str:
    """Returns the names of a query; a component without a name is all value."""
    parts = re.split(r"([&;])", query)
    return "".join(part if part in {"", "&", ";"} else _name_alone(part) for part in parts)


def _name_alone(part: str) -> str:
    name, equals, _ = part.partition("=")
    return f"{name}={HIDDEN}" if equals else HIDDEN

"""Addresses of buckets that local paths of this process stand for."""

_addresses: dict[str, str] = {}


def remember_address(local: str, address: str) -> None:
    """Notes the address that a local path stands for."""
    _addresses[local] = address


def address_of(text: str) -> str:
    """Returns the address that a local path stands for; other texts as they are."""
    return _addresses.get(text, text)


def with_addresses(text: str) -> str:
    """Returns a text with addresses in place of the local paths that stand for them, as a user types it."""
    for local in sorted(_addresses, key=len, reverse=True):
        text = text.replace(local, _addresses[local].rstrip("/"))
    return text

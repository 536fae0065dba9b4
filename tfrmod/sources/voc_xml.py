"""Parser of Pascal VOC XML files: strict decoding of untrusted input, and the image that a file names."""

import codecs
import functools
import re
from pathlib import Path
from typing import Any, NamedTuple

from lxml import etree

from tfrmod.errors import DatasetError
from tfrmod.text import DecodedText, decode_text

MAX_XML_BYTES = 64 << 20

_HEAD_BYTES = 4096
_DECLARATION = re.compile(r"\s*<\?xml\b[^>]*\?>", re.IGNORECASE)
_DECLARED = re.compile(rb"<\?xml\b[^>]*\bencoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']", re.IGNORECASE)
# Tags in the plain form of nearly all tools. Other forms are parsed as XML.
_PLAIN_TAG = re.compile(rb"<(filename|folder|path)>([^<&]*)</\1>")
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949", "iso8859-1": "cp1252"}

# Encodings in which some characters have the bytes of two-byte UTF-8 characters.
_DOUBLE_BYTE = ("gb18030", "big5", "cp932", "cp949", "euc_jp", "euc_kr")


class Stated(NamedTuple):
    """The image that an annotation names; "" where it does not."""

    filename: str = ""
    folder: str = ""
    path: str = ""


def parse(path: Path, outermost: str = "annotation") -> tuple[etree._Element, str]:
    """Returns the root, and the encoding if it is a guess, "" otherwise.

    Nothing is fetched, no entity is resolved, no DTD is loaded; a document that
    declares entities is rejected, since annotations do not need them.

    Raises:
      DatasetError: it is not XML with that outermost tag, by default Pascal VOC's.
    """
    try:
        if path.stat().st_size > MAX_XML_BYTES:
            raise DatasetError(f"more than {MAX_XML_BYTES >> 20} MiB")
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"cannot be opened: {error.strerror}") from error
    if not data.strip():
        raise DatasetError("the file is empty")
    try:
        decoded = _decoded(data)
    except DatasetError as error:
        raise DatasetError(f"not well-formed XML: {error}") from error
    text = _DECLARATION.sub("", decoded.text.lstrip("\ufeff"), count=1).lstrip()
    try:
        root = etree.fromstring(text.encode(), _parser())
    except (etree.XMLSyntaxError, ValueError) as error:
        raise DatasetError(f"not well-formed XML: {getattr(error, 'msg', error)}") from error
    dtd: Any = root.getroottree().docinfo.internalDTD
    if dtd is not None and next(dtd.iterentities(), None) is not None:
        raise DatasetError("it declares entities, which are rejected because they can expand exponentially")
    if local_name(root.tag) != outermost:
        raise DatasetError(f"its outermost tag is <{local_name(root.tag)}>, where <{outermost}> is expected")
    return root, decoded.encoding if decoded.is_guessed else ""


def stated_image(path: Path) -> Stated:
    """Returns the image that an annotation names; empty if it cannot be read.

    Only the beginning is read if that suffices, since a listing calls this for
    every annotation.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return Stated()
    head, is_cut, _ = head.partition(b"<object")
    if head.isascii() and b"<!" not in head and b"\0" not in head:
        found: dict[str, str] = {}
        for tag, value in _PLAIN_TAG.findall(head):
            found.setdefault(tag.decode(), value.decode().strip())
        if "filename" in found and is_cut:
            return Stated(**found)
    try:
        root, _ = parse(path)
    except DatasetError:
        return Stated()
    tags = children(root)
    return Stated(*(text_of(tags.get(name)) for name in Stated._fields))


def elements(node: etree._Element, name: str) -> list[etree._Element]:
    """Returns the children with a tag name."""
    return [child for child in node.iterchildren(etree.Element) if local_name(child.tag) == name]


def children(node: etree._Element) -> dict[str, etree._Element]:
    """Returns the first child of each tag name, without namespaces and in lower case."""
    found: dict[str, etree._Element] = {}
    for child in node.iterchildren(etree.Element):
        found.setdefault(local_name(child.tag), child)
    return found


@functools.lru_cache
def local_name(tag: str) -> str:
    """Returns a tag's name without its namespace, in lower case."""
    return tag.rpartition("}")[2].lower()


def text_of(node: etree._Element | None) -> str:
    """Returns the text of a tag, "" if it is missing."""
    return (node.text or "").strip() if node is not None else ""


def _decoded(data: bytes) -> DecodedText:
    """Returns the text in the encoding that it declares, if its bytes agree.

    Many tools declare one encoding and write another. UTF-8 is recognized
    whatever is declared: text in another encoding is rarely valid UTF-8.

    Raises:
      DatasetError: the bytes are valid in no encoding, or in several.
    """
    match = _DECLARED.search(data[:_HEAD_BYTES])  # Only if the declaration is readable as ASCII, so not in UTF-16.
    declared = _codec(match.group(1).decode()) if match else ""
    if declared in ("", "utf-8") or data.isascii():
        return decode_text(data)
    try:
        unicode = decode_text(data)
    except DatasetError:
        unicode = None
    try:
        text = data.decode(declared)
    except (UnicodeDecodeError, LookupError):
        text = "\ufffd"
    if unicode is not None and not unicode.is_guessed:
        if declared in _DOUBLE_BYTE and "\ufffd" not in text and max(unicode.text) < "\u0800":
            raise DatasetError(f"its bytes are text in {declared}, as it declares, and in UTF-8; save it as UTF-8")
        return unicode._replace(is_guessed=True)
    if "\ufffd" not in text:
        return DecodedText(text, declared)
    if unicode is not None:
        return unicode
    raise DatasetError(f"it declares the encoding {declared}, and its bytes are not text in it; save it as UTF-8")


def _codec(name: str) -> str:
    """Returns the name of the codec of a declared encoding, "" if it is unknown or not a text encoding."""
    try:
        codec = codecs.lookup(name)
    except LookupError:
        return ""
    # A declaration that is readable byte by byte is not UTF-16, whatever it states; `hex` and others are not encodings.
    is_text = getattr(codec, "_is_text_encoding", True) and not codec.name.startswith(("utf-16", "utf-32", "utf-7"))
    return _WIDER.get(codec.name, codec.name) if is_text else ""


def _parser() -> etree.XMLParser:
    return etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )

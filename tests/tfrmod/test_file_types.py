import pytest

from tfrmod.file_types import described, image_format


@pytest.mark.parametrize(
    ("format", "name"),
    [("JPEG", "JPEG"), ("PNG", "PNG"), ("GIF", "GIF"), ("BMP", "BMP"), ("WEBP", "WEBP"), ("TIFF", "TIFF")],
)
def test_file_types_image_is_known_by_its_first_bytes(encode_image, format: str, name: str) -> None:
    assert image_format(encode_image(format)) == name
    assert name in described(encode_image(format))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty file"),
        (b"\n<!DOCTYPE html><html>", "HTML page"),
        (b"<?xml version='1.0'?>", "XML"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
        (b"PK\x03\x04rest", "zip archive"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"\x00\x00\x00\x18ftypheic", "HEIF"),
        (b"hello", "begins with b'hello'"),
    ],
)
def test_file_types_other_files_are_named_for_a_person(data: bytes, words: str) -> None:
    assert image_format(data) is None
    assert words in described(data)

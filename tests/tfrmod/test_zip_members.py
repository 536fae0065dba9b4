"""Tests of the encoding of names in zip archives: stated, detected, or guessed with a message."""

import binascii
import json
import struct
import zipfile
from pathlib import Path

import pytest

from tfrmod import archive
from tfrmod.archive import extract
from tfrmod.errors import DatasetError

GERMAN, CHINESE, JAPANESE, CYRILLIC = "größe", "照片", "写真", "фото"


def archive_of(path: Path, members: dict[bytes, bytes], extra: dict[bytes, bytes] | None = None) -> Path:
    """Packs names as bytes without the flag of UTF-8, as old programs do."""
    stand_ins = {f"{number:03}".ljust(len(name), "_"): name for number, name in enumerate(members)}
    with zipfile.ZipFile(path, "w") as file:
        for stand_in, name in stand_ins.items():
            info = zipfile.ZipInfo(stand_in)
            info.extra = (extra or {}).get(name, b"")
            file.writestr(info, members[name])
    data = path.read_bytes()
    for stand_in, name in stand_ins.items():
        data = data.replace(stand_in.encode(), name)
    path.write_bytes(data)
    return path


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {archive.MARKER}


def unicode_path(raw: bytes, name: str, *, checksum: int | None = None) -> bytes:
    """Returns Info-ZIP's extra field with a name in UTF-8."""
    data = struct.pack("<BL", 1, binascii.crc32(raw) if checksum is None else checksum) + name.encode()
    return struct.pack("<HH", 0x7075, len(data)) + data


@pytest.mark.parametrize(
    ("stem", "page"),
    [
        (GERMAN, "cp437"),
        (GERMAN, "cp1252"),
        (GERMAN, "cp850"),
        (CHINESE, "gb18030"),
        ("图片", "gb18030"),  # Valid UTF-8 by chance.
        ("圖片", "big5"),
        (JAPANESE, "cp932"),
        (CYRILLIC, "cp866"),
        (CYRILLIC, "cp1251"),
    ],
)
@pytest.mark.parametrize("kind", ["utf-8", "escaped"])
def test_zip_members_zip_names_are_read_as_the_annotations_write_them(
    tmp_path: Path, stem: str, page: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    text = json.dumps({"images": [{"file_name": f"{stem}1.jpg"}]}, ensure_ascii=kind == "escaped").encode()
    members = {f"images/{stem}{number}.jpg".encode(page): b"x" for number in range(3)}
    out = extract(archive_of(tmp_path / "a.zip", {**members, b"a.json": text}), tmp_path / "out")
    assert files_in(out) == {f"images/{stem}{number}.jpg" for number in range(3)} | {"a.json"}
    assert "3 names that are not in UTF-8" in caplog.text
    assert "1 of the first 3 occur like this in its annotations" in caplog.text


@pytest.mark.parametrize(
    ("stem", "page"), [(GERMAN, "cp437"), (GERMAN, "cp1252"), (CHINESE, "gb18030"), (JAPANESE, "gb18030")]
)
def test_zip_members_zip_names_that_nothing_mentions_are_guessed_and_reported(
    tmp_path: Path, stem: str, page: str, caplog: pytest.LogCaptureFixture
) -> None:
    out = extract(archive_of(tmp_path / "a.zip", {f"{stem}.jpg".encode(page): b"x"}), tmp_path / "out")
    assert files_in(out) == {f"{stem}.jpg"}
    assert f"read in the code page {page}" in caplog.text
    assert "this is a guess" in caplog.text


def test_zip_members_zip_names_in_utf8_without_the_flag_are_certain(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    members = {f"{stem}.jpg".encode(): b"x" for stem in (GERMAN, CHINESE, CYRILLIC)}
    out = extract(archive_of(tmp_path / "a.zip", members), tmp_path / "out")
    assert files_in(out) == {f"{stem}.jpg" for stem in (GERMAN, CHINESE, CYRILLIC)}
    assert not caplog.text


def test_zip_members_zip_names_of_one_writer_have_one_encoding(tmp_path: Path) -> None:
    """The bytes of 联通 in GBK are those of a name in UTF-8 as well."""
    members = {f"{stem}.jpg".encode("gb18030"): b"x" for stem in ("联通", CHINESE)}
    out = extract(archive_of(tmp_path / "a.zip", members), tmp_path / "out")
    assert files_in(out) == {"联通.jpg", f"{CHINESE}.jpg"}


def test_zip_members_zip_names_in_the_extra_field_of_info_zip(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    raw = f"{CHINESE}.jpg".encode("gb18030")
    extra = {raw: struct.pack("<HH", 0x5455, 1) + b"\0" + unicode_path(raw, f"{CHINESE}.jpg")}
    assert files_in(extract(archive_of(tmp_path / "a.zip", {raw: b"x"}, extra), tmp_path / "a")) == {f"{CHINESE}.jpg"}
    assert not caplog.text
    # A program that knows nothing of the field has renamed the member.
    stale = {raw: unicode_path(raw, "other.jpg", checksum=1)}
    assert files_in(extract(archive_of(tmp_path / "b.zip", {raw: b"x"}, stale), tmp_path / "b")) == {f"{CHINESE}.jpg"}


@pytest.mark.parametrize("hidden", ["../../evil", "/etc/evil", "C:evil", "..\\..\\evil", "a\x1bb"])
def test_zip_members_name_that_means_harm_in_the_extra_field_is_refused(tmp_path: Path, hidden: str) -> None:
    raw = b"gr\x94e.jpg"
    path = archive_of(tmp_path / "a.zip", {raw: b"x"}, {raw: unicode_path(raw, hidden)})
    with pytest.raises(DatasetError, match="nothing was unpacked"):
        extract(path, tmp_path / "out")


def test_zip_members_zip_names_with_backslashes_are_paths(tmp_path: Path) -> None:
    members = {b"My Data\\images\\a.jpg": b"x", b"My Data\\images\\": b"", b"My Data\\b.xml": b"<a/>", b"c.txt": b""}
    out = extract(archive_of(tmp_path / "a.zip", members), tmp_path / "out")
    assert files_in(out) == {"My Data/images/a.jpg", "My Data/b.xml", "c.txt"}


def test_zip_members_backslash_within_a_code_page_is_no_separator(tmp_path: Path) -> None:
    """The second byte of 表 in Shift-JIS is the one of a backslash."""
    text = '<a filename="表1.jpg"/>'.encode()
    out = extract(archive_of(tmp_path / "a.zip", {"表1.jpg".encode("cp932"): b"x", b"a.xml": text}), tmp_path / "out")
    assert files_in(out) == {"表1.jpg", "a.xml"}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((b"a\\b.jpg", b"a/b.jpg"), "twice"),
        ((b"a\\b.jpg", b"a\\.\\b.jpg"), "twice"),
        ((b"a\\b", b"a\\b\\c.jpg"), "both as a file and as a folder"),
        ((b"a\\..\\b.jpg",), r"'\.\.'"),
        ((b"a/b\\c.jpg",), "mixes slashes and backslashes"),
        ((b"\\\\?\\C:\\b.jpg",), "absolute"),
    ],
)
def test_zip_members_backslashes_do_not_hide_a_second_name(
    tmp_path: Path, names: tuple[bytes, ...], words: str
) -> None:
    with pytest.raises(DatasetError, match=words):
        extract(archive_of(tmp_path / "a.zip", dict.fromkeys(names, b"x")), tmp_path / "out")
    assert not (tmp_path / "out").exists()

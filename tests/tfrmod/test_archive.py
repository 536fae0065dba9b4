import json
import os
import shutil
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from tfrmod import archive, zip_members
from tfrmod.archive import ArchiveLimits, extract, folder_fingerprint, zip_fingerprint
from tfrmod.errors import DatasetError

Members = dict[str, bytes | str]


def packed(path: Path, members: Members, *, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def everything_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_archive_good_archive_comes_out_whole(tmp_path: Path) -> None:
    zip_path = packed(tmp_path / "a.zip", {"d/": "", "d/a.jpg": b"x" * 3000, "b.xml": "<a/>", "ä#=.txt": "ö"})
    steps: list[tuple[int, int]] = []
    out = extract(zip_path, tmp_path / "out", on_progress=lambda done, total: steps.append((done, total)))
    assert everything_in(out) == {"d/a.jpg", "b.xml", "ä#=.txt", archive.MARKER}
    assert (out / "d/a.jpg").read_bytes() == b"x" * 3000
    assert steps[-1] == (3006, 3006)
    assert sorted(os.listdir(tmp_path)) == ["a.zip", "out"]


def test_archive_what_systems_leave_behind_is_left_out(tmp_path: Path) -> None:
    members = {"a.jpg": b"x", "__MACOSX/._a.jpg": b"x", ".DS_Store": b"x", "d/Thumbs.db": b"x", "d/.b": b"x"}
    assert everything_in(extract(packed(tmp_path / "a.zip", members), tmp_path / "out")) == {"a.jpg", archive.MARKER}


def test_archive_second_time_nothing_is_unpacked(tmp_path: Path) -> None:
    zip_path = packed(tmp_path / "a.zip", {"a.jpg": b"x"})
    out = extract(zip_path, tmp_path / "out")
    (out / "a.jpg").write_bytes(b"touched")
    assert (extract(zip_path, out) / "a.jpg").read_bytes() == b"touched"


def test_archive_another_archive_replaces_an_extraction_and_nothing_else(tmp_path: Path) -> None:
    out = extract(packed(tmp_path / "a.zip", {"a.jpg": b"x", "old.jpg": b"x"}), tmp_path / "out")
    extract(packed(tmp_path / "b.zip", {"a.jpg": b"yy"}), out)
    assert everything_in(out) == {"a.jpg", archive.MARKER}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").touch()
    with pytest.raises(DatasetError, match="did not come from there"):
        extract(tmp_path / "a.zip", tmp_path / "mine")
    assert everything_in(tmp_path / "mine") == {"precious"}


@pytest.mark.parametrize("edit", ["change", "same length", "add", "hidden", "remove", "link"])
def test_archive_extraction_that_was_edited_is_not_replaced(tmp_path: Path, edit: str) -> None:
    out = extract(packed(tmp_path / "a.zip", {"d/a.xml": b"red", "b.jpg": b"x"}), tmp_path / "out")
    extract(packed(tmp_path / "b.zip", {"d/a.xml": b"yy"}), out)  # Not edited: it may be replaced.
    if edit in {"change", "same length"}:
        (out / "d/a.xml").write_bytes(b"crimson" if edit == "change" else b"zz")
    elif edit == "remove":
        (out / "d/a.xml").unlink()
    elif edit == "link":
        (out / "d/link").symlink_to(tmp_path)
    else:
        (out / "d" / (".notes" if edit == "hidden" else "notes.txt")).write_text("mine")
    before = everything_in(out)
    with pytest.raises(DatasetError, match=r"edited since: d/.*another archive, would replace that\. Name"):
        extract(tmp_path / "a.zip", out)
    assert everything_in(out) == before
    assert sorted(os.listdir(tmp_path)) == ["a.zip", "b.zip", "out"]


def test_archive_extraction_of_an_earlier_version_is_not_replaced(tmp_path: Path) -> None:
    out = extract(packed(tmp_path / "a.zip", {"a.xml": b"red"}), tmp_path / "out")
    marker = json.loads((out / archive.MARKER).read_text())
    (out / archive.MARKER).write_text(json.dumps({"fingerprint": marker["fingerprint"], "files": 1}))
    assert extract(tmp_path / "a.zip", out) == out
    with pytest.raises(DatasetError, match="by an earlier version, which did not list its files"):
        extract(packed(tmp_path / "b.zip", {"a.xml": b"blue"}), out)


def test_archive_what_systems_add_to_an_extraction_is_no_edit(tmp_path: Path) -> None:
    out = extract(packed(tmp_path / "a.zip", {"a.xml": b"red"}), tmp_path / "out")
    (out / ".DS_Store").touch()
    (out / "._a.xml").touch()
    extract(packed(tmp_path / "b.zip", {"a.xml": b"blue"}), out)
    assert (out / "a.xml").read_bytes() == b"blue"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../evil", r"'\.\.'"),
        ("a/../../evil", r"'\.\.'"),
        ("/etc/evil", "absolute"),
        ("C:/evil", "absolute"),
        ("c:evil", "absolute"),
        ("..\\evil", r"'\.\.'"),
        ("a\\..\\..\\evil", r"'\.\.'"),
        ("a/..\\evil", r"'\.\.'"),
        ("a/b\\evil", "mixes slashes and backslashes"),
        ("a\\b/evil", "mixes slashes and backslashes"),
        ("C:\\evil", "absolute"),
        ("\\evil", "absolute"),
        ("\\\\host\\evil", "absolute"),
        ("a/\x07bell", "control character"),
        ("a/\nb", "control character"),
        ("x" * 300, "more than 255 bytes"),
        ("./", "no name"),
    ],
)
def test_archive_unsafe_names_are_rejected(tmp_path: Path, name: str, words: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    zip_path = packed(inner / "a.zip", {"good.jpg": b"x", name: b"evil"})
    with pytest.raises(DatasetError, match=words):
        extract(zip_path, inner / "out")
    assert everything_in(tmp_path) == {"inner/a.zip"}


@pytest.mark.parametrize(
    ("kind", "words"), [(stat.S_IFLNK, "is a link"), (stat.S_IFIFO, "neither a file"), (stat.S_IFCHR, "neither")]
)
def test_archive_links_and_devices_are_refused(tmp_path: Path, kind: int, words: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        info = zipfile.ZipInfo("link")
        info.create_system = 3
        info.external_attr = (kind | 0o777) << 16
        file.writestr(info, "/etc/passwd")
    with pytest.raises(DatasetError, match=f"'link'.*{words}"):
        extract(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("a.jpg", "a.jpg"), "'a.jpg' twice"),
        (("a.jpg", "./a.jpg"), "'./a.jpg' twice"),
        (("d/a.jpg", "d//a.jpg"), "twice"),
        (("\u00e9.jpg", "e\u0301.jpg"), "twice"),
        (("a", "a/b.jpg"), "both as a file and as a folder"),
        (("a/b/c.jpg", "a"), "both as a file and as a folder"),
    ],
)
def test_archive_duplicate_names_are_rejected(tmp_path: Path, names: tuple[str, str], words: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name in names:
            file.writestr(name, "x")
    with pytest.raises(DatasetError, match=words):
        extract(tmp_path / "a.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_archive_encrypted_member_is_refused(tmp_path: Path) -> None:
    data = bytearray(packed(tmp_path / "a.zip", {"secret.jpg": b"x"}).read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + offset] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(DatasetError, match=r"'secret\.jpg', which is encrypted"):
        extract(tmp_path / "a.zip", tmp_path / "out")


def test_archive_zip_bombs_are_rejected_before_unpacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_members, "_RATIO_MATTERS_BYTES", 1 << 16)
    bomb = packed(tmp_path / "a.zip", {"zeros.bmp": bytes(1 << 20)})
    with pytest.raises(DatasetError, match=r"'zeros\.bmp', which unpacks to [\d,]+ times its size"):
        extract(bomb, tmp_path / "out")
    many = packed(tmp_path / "b.zip", {f"{number}.bmp": bytes(60_000) for number in range(9)})
    with pytest.raises(DatasetError, match=r"unpacks to [\d,]+ times its size"):
        extract(many, tmp_path / "out")
    with pytest.raises(DatasetError, match="540,000 bytes, more than the 500,000"):
        extract(many, tmp_path / "out", limits=ArchiveLimits(max_ratio=9999, max_bytes=500_000))
    with pytest.raises(DatasetError, match="9 members, more than the 8"):
        extract(many, tmp_path / "out", limits=ArchiveLimits(max_files=8))
    assert sorted(os.listdir(tmp_path)) == ["a.zip", "b.zip"]


def test_archive_overlapping_members_are_refused(tmp_path: Path) -> None:
    data = packed(tmp_path / "a.zip", {"a.bin": bytes(5000), "b.bin": os.urandom(50)}).read_bytes()
    start = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", start + 4)
    doubled = bytearray(data)
    doubled[second + 42 : second + 46] = data[start + 42 : start + 46]
    doubled[second + 20 : second + 24] = data[start + 20 : start + 24]
    (tmp_path / "a.zip").write_bytes(doubled)
    with pytest.raises(DatasetError, match="overlap"):
        extract(tmp_path / "a.zip", tmp_path / "out")


def test_archive_more_than_the_disk_holds_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match="needs 99 bytes") as caught:
        extract(packed(tmp_path / "a.zip", {"a.jpg": b"x" * 99}), tmp_path / "out")
    assert caught.value.errno == 28
    assert os.listdir(tmp_path) == ["a.zip"]


def test_archive_damaged_member_is_named_and_nothing_stays(tmp_path: Path) -> None:
    zip_path = packed(tmp_path / "a.zip", {"good.jpg": b"x", "bad.jpg": b"secret" * 99}, compression=zipfile.ZIP_STORED)
    zip_path.write_bytes(zip_path.read_bytes().replace(b"secretsecret", b"sEcretsecret", 1))
    with pytest.raises(DatasetError, match=r"damaged member 'bad\.jpg'.*CRC"):
        extract(zip_path, tmp_path / "out")
    assert os.listdir(tmp_path) == ["a.zip"]


def test_archive_member_that_holds_more_than_it_says_is_damaged(tmp_path: Path) -> None:
    data = bytearray(packed(tmp_path / "a.zip", {"a.jpg": bytes(9000)}).read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, 10)
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(DatasetError, match="damaged member"):
        extract(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html><html>Sign in</html>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS"),
        (b"", "an empty file"),
        (b"Rar!\x1a\x07", "a RAR archive"),
    ],
)
def test_archive_what_is_no_zip_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DatasetError, match=f"must be a zip archive; it is {words}"):
        extract(tmp_path / "a.zip", tmp_path / "out")


def test_archive_zip_cut_short_and_a_missing_one(tmp_path: Path) -> None:
    zip_path = packed(tmp_path / "a.zip", {"a.jpg": b"x" * 99})
    zip_path.write_bytes(zip_path.read_bytes()[:-30])
    with pytest.raises(DatasetError, match="cut off or damaged"):
        extract(zip_path, tmp_path / "out")
    with pytest.raises(DatasetError, match=r"archive .* does not exist") as caught:
        zip_fingerprint(tmp_path / "gone.zip")
    assert caught.value.missing


def test_archive_random_damage_never_raises_anything_else_and_never_writes_outside(tmp_path: Path) -> None:
    import random

    rng = random.Random(0)
    inner = tmp_path / "inner"
    inner.mkdir()
    data = packed(inner / "a.zip", {"d/a.jpg": b"x" * 40, "b.xml": "<a/>" * 9}).read_bytes()
    refused = 0
    for _ in range(300):
        broken = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        (inner / "a.zip").write_bytes(broken)
        try:
            extract(inner / "a.zip", inner / "out")
        except DatasetError:
            refused += 1
        assert os.listdir(tmp_path) == ["inner"]
        assert set(os.listdir(inner)) <= {"a.zip", "out"}
    assert refused > 100


def test_archive_fingerprints_follow_content_and_not_time(tmp_path: Path) -> None:
    first = zip_fingerprint(packed(tmp_path / "a.zip", {"a": b"x", "b": b"y"}))
    assert first == zip_fingerprint(packed(tmp_path / "b.zip", {"b": b"y", "a": b"x"}, compression=zipfile.ZIP_STORED))
    assert first != zip_fingerprint(packed(tmp_path / "c.zip", {"a": b"x", "b": b"z"}))

    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.xml").write_text("<a>12</a>")
    (folder / "sub" / "a.jpg").write_bytes(b"photo")
    before = folder_fingerprint(folder)
    os.utime(folder / "a.xml", (0, 0))
    (folder / ".hidden").touch()
    (folder / "out").mkdir()
    (folder / "out" / "manifest.json").touch()
    assert folder_fingerprint(folder, leave_out=folder / "out") == before
    assert folder_fingerprint(folder) != before
    (folder / "a.xml").write_text("<a>13</a>")
    assert folder_fingerprint(folder, leave_out=folder / "out") != before

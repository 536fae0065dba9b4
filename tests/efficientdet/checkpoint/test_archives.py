import gzip
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from efficientdet.checkpoint import archives
from efficientdet.checkpoint.archives import unpack
from efficientdet.errors import CheckpointError


def archive(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 3, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size if kind == tarfile.REGTYPE else 0, link
    return info


def test_archive_is_unpacked_once_and_by_content(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.tar.gz", member("./", tarfile.DIRTYPE), member("m/model.index"), member("m/._model"))
    folder = unpack(path, tmp_path / "cache")
    assert [file.name for file in folder.rglob("*") if file.is_file()] == ["model.index"]
    assert unpack(path, tmp_path / "cache") == folder
    archive(path, member("m/other.index"))
    assert unpack(path, tmp_path / "cache") != folder
    assert len(list((tmp_path / "cache").iterdir())) == 2


@pytest.mark.parametrize(
    "hostile",
    [
        member("../outside"),
        member("a/../../outside"),
        member("/outside"),
        member("C:outside"),
        member("\\outside"),
        member("link", tarfile.SYMTYPE, link="/etc/passwd"),
        member("link", tarfile.LNKTYPE, link="model.index"),
        member("pipe", tarfile.FIFOTYPE),
    ],
    ids=["up", "up within", "absolute", "drive", "backslash first", "symbolic link", "hard link", "pipe"],
)
def test_archives_what_would_leave_the_folder_is_refused(tmp_path: Path, hostile: tarfile.TarInfo) -> None:
    path = archive(tmp_path / "m.tgz", member("model.index"), hostile)
    with pytest.raises(CheckpointError, match="is a link, or would be written outside"):
        unpack(path, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())
    assert sorted(child.name for child in tmp_path.iterdir()) == ["cache", "m.tgz"]


def test_archive_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 5)
    path = archive(tmp_path / "m.tgz", member("a"), member("b"))
    with pytest.raises(CheckpointError, match="at most 5 bytes"):
        unpack(path, tmp_path / "cache")


def test_archives_half_an_archive_is_damaged(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.tgz", member("a", size=10_000), member("b", size=10_000))
    whole = path.read_bytes()
    for content in (whole[:-20], whole[: len(whole) // 2], gzip.compress(b"no tar"), b"\x1f\x8bno gzip"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="must be a complete tar archive"):
            unpack(path, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([member("a"), member("a/b")], "'a/b' twice"),
        ([member("a/b"), member("a")], "'a' twice"),
        ([member("a"), member("a", tarfile.DIRTYPE)], "'a' twice"),
        ([member("a"), member("./a")], "a' twice"),
        ([member("x" * 400)], "has more than 255 bytes"),
        ([member("\u00e4" * 200)], "has more than 255 bytes"),
        ([member("/".join(["x" * 200] * 6))], "its path more than 1024"),
        ([member("x/" * 40 + "a")], "32 folders deep"),
        ([member("a\\..\\b")], "has a backslash"),
        ([member("a\x1b[2J")], "cannot be printed"),
    ],
)
def test_archives_names_that_do_not_go_together_are_refused(
    tmp_path: Path, members: list[tarfile.TarInfo], words: str
) -> None:
    path = archive(tmp_path / "m.tgz", *members)
    with pytest.raises(CheckpointError, match=words):
        unpack(path, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_archive_has_a_limit_of_members(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.tgz", *(member(f"{number}", size=0) for number in range(1001)))
    with pytest.raises(CheckpointError, match="at most 1000 files and folders"):
        unpack(path, tmp_path / "cache")


def long_header(kind: bytes, num_bytes: int) -> bytes:
    """Returns a tar archive whose first member has a name, or pax headers, of that length."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = kind, num_bytes
    text = b"a" * num_bytes if kind == tarfile.GNUTYPE_LONGNAME else b"%d comment=" % num_bytes + b"a" * num_bytes
    # Records of pax headers end with a newline.
    end = b"" if kind == tarfile.GNUTYPE_LONGNAME else b"\n"
    filled = text[: num_bytes - len(end)] + end + bytes(-num_bytes % 512)
    return info.tobuf(tarfile.GNU_FORMAT) + filled + member("x").tobuf() + bytes(10240)


LIMITED = """
import resource, sys
from pathlib import Path
from efficientdet.checkpoint.archives import unpack
from efficientdet.errors import CheckpointError
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (64 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    unpack(Path(sys.argv[1]), Path(sys.argv[2]))
except CheckpointError as error:
    print(error)
"""


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_archives_long_header_takes_no_memory(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "m.tar.gz"
    path.write_bytes(gzip.compress(long_header(kind, 300 << 20), 1))
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path), str(tmp_path / "cache")], capture_output=True, text=True, check=True
    )
    assert "headers of at most 4,194,304 bytes" in done.stdout
    assert not list((tmp_path / "cache").iterdir())


def test_archives_chain_of_headers_is_one_header(tmp_path: Path) -> None:
    path = tmp_path / "m.tar.gz"
    path.write_bytes(gzip.compress(long_header(tarfile.GNUTYPE_LONGNAME, 100_000)[:-10752] * 80 + bytes(10240)))
    with pytest.raises(CheckpointError, match="headers of at most 4,194,304 bytes"):
        unpack(path, tmp_path / "cache")
    path.write_bytes(gzip.compress(long_header(tarfile.GNUTYPE_LONGNAME, 1)[:-10752] * 900 + bytes(10240)))
    with pytest.raises(CheckpointError, match="must be a complete tar archive"):
        unpack(path, tmp_path / "cache")


def test_archives_headers_are_limited_together(tmp_path: Path) -> None:
    path = tmp_path / "m.tar"
    one = long_header(tarfile.XGLTYPE, 900_000)[:-10752]
    path.write_bytes(b"".join(one + member(f"{number}", size=0).tobuf() for number in range(9)) + bytes(10240))
    with pytest.raises(CheckpointError, match="headers of at most 4,194,304 bytes"):
        unpack(path, tmp_path / "cache")


def test_archives_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.tgz", member("a"), member("b"))
    plain = bytearray(gzip.decompress(path.read_bytes()))
    plain[1024] ^= 1  # The first letter of the second name, so that the checksum of the header is wrong.
    path.write_bytes(gzip.compress(plain))
    with pytest.raises(CheckpointError, match="must be a complete tar archive"):
        unpack(path, tmp_path / "cache")
    path.write_bytes(gzip.compress(plain[:1024]))
    with pytest.raises(CheckpointError, match="must be a complete tar archive"):
        unpack(path, tmp_path / "cache")


def test_archives_full_disk_is_no_damaged_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 2}))
    with pytest.raises(OSError, match="the disk has 2 free") as caught:
        unpack(archive(tmp_path / "m.tgz", member("a")), tmp_path / "cache")
    assert caught.value.errno == 28
    assert os.listdir(tmp_path / "cache") == []


def test_archives_plain_tar_is_read_too(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.tgz", member("a/model.index"))
    path.write_bytes(gzip.decompress(path.read_bytes()))
    assert (unpack(path, tmp_path / "cache") / "a" / "model.index").read_bytes() == b"xxx"

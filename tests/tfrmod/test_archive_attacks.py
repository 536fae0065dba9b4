"""Tests with malicious and damaged zip archives."""

import contextlib
import io
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfrmod import archive, zip_members
from tfrmod.archive import DamagedArchiveError, extract
from tfrmod.errors import DatasetError

LOCAL, CENTRAL = b"PK\x03\x04", b"PK\x01\x02"


def packed(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def renamed(path: Path, old: bytes, new: bytes) -> Path:
    """Replaces the bytes of a name, in the directory and before the data."""
    assert len(old) == len(new)
    path.write_bytes(path.read_bytes().replace(old, new))
    return path


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../" * 30 + "etc/cron.d/evil", r"'\.\.'"),
        ("good/..", r"'\.\.'"),
        ("//host/share/evil", "absolute"),
        ("d/" * 65 + "a.jpg", "more than 64 folders deep"),
        ("/".join(["x" * 200] * 12), "path of more than 2048 bytes"),
        ("a/" + "ü" * 128 + ".jpg", "more than 255 bytes"),
        ("a\x1b[2Jb.jpg", "control character"),
    ],
)
def test_archive_attacks_unsafe_names_are_rejected(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        extract(packed(tmp_path / "a.zip", {"good.jpg": b"x", name: b"evil"}), tmp_path / "out")
    assert os.listdir(tmp_path) == ["a.zip"]


@pytest.mark.parametrize(
    "name", ["con", "d/NUL.jpg", "aux.tar.gz", "COM1.txt", "lpt² .xml", "ab:c.jpg", "a./b", "x?.jpg"]
)
def test_archive_attacks_names_that_windows_keeps_for_itself(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    zip_path = packed(tmp_path / "a.zip", {name: b"x"})
    assert len(files_in(extract(zip_path, tmp_path / "here"))) == 2
    monkeypatch.setattr(zip_members, "_IS_WINDOWS", True)
    with pytest.raises(DatasetError, match="Windows"):
        extract(zip_path, tmp_path / "there")


def test_archive_attacks_name_that_is_unpacked_is_the_name_that_was_looked_at(tmp_path: Path) -> None:
    """Newer versions of Python take the name from an extra field if there is one."""
    zip_path = packed(tmp_path / "a.zip", {"good.jpg": b"x"})
    with zipfile.ZipFile(zip_path) as file:
        file.infolist()[0].filename = "../../evil.jpg"
        with pytest.raises(DatasetError, match=r"'\.\.'"):
            zip_members.checked_members(file, zip_members.ArchiveLimits())


def test_archive_attacks_names_in_utf8_that_do_not_say_so(tmp_path: Path) -> None:
    """As written by macOS."""
    zip_path = renamed(packed(tmp_path / "a.zip", {"gr----e.jpg": b"x"}), b"gr----e.jpg", "größe.jpg".encode())
    assert files_in(extract(zip_path, tmp_path / "out")) == {"größe.jpg", archive.MARKER}


def test_archive_attacks_names_that_are_not_utf8_at_all(tmp_path: Path) -> None:
    zip_path = renamed(packed(tmp_path / "a.zip", {"gr--e.jpg": b"x"}), b"gr--e.jpg", b"gr\x94\xe1e.jpg")
    assert files_in(extract(zip_path, tmp_path / "out")) == {"größe.jpg", archive.MARKER}  # Code page 437.
    data = bytearray(zip_path.read_bytes())
    for magic, offset in ((LOCAL, 6), (CENTRAL, 8)):  # Now they claim to be UTF-8.
        struct.pack_into("<H", data, data.index(magic) + offset, 0x800)
    zip_path.write_bytes(data)
    with pytest.raises(DatasetError, match="cut off or damaged"):
        extract(zip_path, tmp_path / "other")


def test_archive_attacks_names_that_differ_in_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zip_path = packed(tmp_path / "a.zip", {"a.jpg": b"1", "A.JPG": b"2", "D/b.jpg": b"3", "d/c.jpg": b"4"})
    assert (extract(zip_path, tmp_path / "out") / "A.JPG").read_bytes() == b"2"
    monkeypatch.setattr(archive, "_folds_case", lambda _: True)
    with pytest.raises(DatasetError, match=r"'A\.JPG' twice \(once as 'a\.jpg', the same name on this disk\)"):
        extract(zip_path, tmp_path / "other")
    extract(packed(tmp_path / "b.zip", {"D/b.jpg": b"3", "d/c.jpg": b"4"}), tmp_path / "other")


def test_archive_attacks_archive_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is empty"):
        extract(packed(tmp_path / "a.zip", {}), tmp_path / "out")


def test_archive_attacks_archive_in_the_archive_stays_closed(tmp_path: Path) -> None:
    inner = packed(tmp_path / "inner.zip", {"zeros.bmp": bytes(1 << 20)}).read_bytes()
    out = extract(packed(tmp_path / "a.zip", {"inner.zip": inner}), tmp_path / "out")
    assert files_in(out) == {"inner.zip", archive.MARKER}
    assert (out / "inner.zip").read_bytes() == inner


def test_archive_attacks_members_that_share_their_data(tmp_path: Path) -> None:
    """Fifield's zip bomb: many directory entries share one compressed stream."""
    data = packed(tmp_path / "a.zip", {"0.bin": bytes(60_000)}).read_bytes()
    start, end = data.index(CENTRAL), data.index(b"PK\x05\x06")
    entries = [data[start:end].replace(b"0.bin", b"%x.bin" % number) for number in range(16)]
    directory = b"".join(entries)
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, len(entries), len(entries), len(directory), start, 0)
    (tmp_path / "a.zip").write_bytes(data[:start] + directory + tail)
    with pytest.raises(DatasetError, match="overlap"):
        extract(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize(
    ("method", "words"), [(12, "by bzip2"), (14, "by LZMA"), (9, "by Deflate64"), (77, "by an unknown")]
)
def test_archive_attacks_methods_whose_decoders_know_no_bounds(tmp_path: Path, method: int, words: str) -> None:
    """4 KiB of bzip2 decompress to 4 GiB at once, whatever the stated size."""
    data = bytearray(packed(tmp_path / "a.zip", {"zeros.bmp": bytes(1 << 20)}).read_bytes())
    for magic, offset in ((LOCAL, 8), (CENTRAL, 10)):
        struct.pack_into("<H", data, data.index(magic) + offset, method)
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(DatasetError, match=rf"'zeros\.bmp', which is packed {words}"):
        extract(tmp_path / "a.zip", tmp_path / "out")


def test_archive_attacks_member_that_lies_about_its_size_fills_no_memory(tmp_path: Path) -> None:
    data = bytearray(packed(tmp_path / "a.zip", {"zeros.bmp": bytes(200 << 20)}).read_bytes())
    struct.pack_into("<L", data, data.index(CENTRAL) + 24, 10)
    (tmp_path / "a.zip").write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(DamagedArchiveError, match=r"zeros\.bmp"):
            extract(tmp_path / "a.zip", tmp_path / "out")
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_archive_attacks_tar_is_named_in_one_sentence(tmp_path: Path) -> None:
    for mode, words in (
        ("w", "a tar archive"),
        ("w:gz", "a gzip archive"),
        ("w:bz2", "a bzip2 archive"),
        ("w:xz", "xz"),
    ):
        path = tmp_path / "photos.tar"
        with tarfile.open(path, mode) as file:  # type: ignore[call-overload]
            file.addfile(tarfile.TarInfo("a.jpg"), io.BytesIO())
        with pytest.raises(DatasetError, match=f"must be a zip archive; it is .*{words}"):
            extract(path, tmp_path / "out")


def test_archive_attacks_endless_files_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(DatasetError, match="must be a zip archive; it is not a file"):
            extract(path, tmp_path / "out")


def test_archive_attacks_two_at_once_unpack_once_and_agree(tmp_path: Path) -> None:
    zip_path = packed(tmp_path / "a.zip", {f"{number}.jpg": os.urandom(20_000) for number in range(60)})
    code = "import sys, pathlib; from tfrmod.archive import extract; extract(*map(pathlib.Path, sys.argv[1:]))"
    command = [sys.executable, "-c", code, str(zip_path), str(tmp_path / "out")]
    runs = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    assert [run.communicate()[1] for run in runs] == [b""] * 3
    assert len(files_in(tmp_path / "out")) == 61
    assert sorted(os.listdir(tmp_path)) == ["a.zip", "out"]


def seeds() -> list[bytes]:
    """Archives of each method, with folders and names of all kinds."""
    made = []
    members = {"d/a.jpg": b"x" * 400, "d/": b"", "b.xml": b"<a/>" * 90, "größe.txt": os.urandom(9)}
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as file:
            for name, content in members.items():
                file.writestr(name, content)
            with file.open("zip64.bin", "w", force_zip64=True) as member:
                member.write(b"z" * 50)
            file.comment = b"a comment"
        made.append(out.getvalue())
    return made


SEEDS = seeds()
NASTY = st.sampled_from(
    [
        b"..",
        b"../",
        b"/",
        b"\\",
        b"\0",
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff",
        LOCAL,
        CENTRAL,
        b"PK\x05\x06",
        b"PK\x06\x06",
    ]
)
Piece = st.tuples(st.integers(0, 4000), st.one_of(NASTY, st.binary(min_size=1, max_size=4)), st.booleans())


@st.composite
def mutated_zips(draw: st.DrawFn) -> bytes:
    """Changes, inserts and removes bytes, preferably near the directory; or concatenates two archives."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for place, piece, is_inserted in draw(st.lists(Piece, min_size=1, max_size=5)):
        start = (len(data) - place) % len(data)
        data[start : start if is_inserted else start + len(piece)] = piece
    if draw(st.booleans()):
        cut = draw(st.integers(0, len(data)))
        data = data[cut:] if draw(st.booleans()) else data[:cut]
    if draw(st.integers(0, 9)) == 0:
        data += draw(st.sampled_from(SEEDS))
    return bytes(data)


def survives(folder: Path, data: bytes) -> None:
    """Checks that an archive is unpacked completely, or rejected without leaving files."""
    zip_path, out = folder / "in" / "a.zip", folder / "in" / "out"
    zip_path.parent.mkdir(exist_ok=True)
    zip_path.write_bytes(data)
    with contextlib.suppress(DatasetError):
        extract(zip_path, out)
        assert (out / archive.MARKER).is_file()
        assert not [path for path in out.rglob("*") if path.is_symlink() or not (path.is_file() or path.is_dir())]
        shutil.rmtree(out)
    assert os.listdir(folder) == ["in"]
    assert os.listdir(folder / "in") == ["a.zip"]


CALM = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=300, deadline=None, suppress_health_check=CALM, derandomize=True)
@given(data=mutated_zips())
def test_archive_attacks_no_mutation_gets_out_or_through(tmp_path: Path, data: bytes) -> None:
    survives(tmp_path, data)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=CALM)
@given(data=mutated_zips())
def test_archive_attacks_ten_thousand_mutations(tmp_path: Path, data: bytes) -> None:
    survives(tmp_path, data)

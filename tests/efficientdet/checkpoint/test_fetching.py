import gzip
import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from efficientdet.checkpoint import fetching
from efficientdet.checkpoint.fetching import cache_folder, cached_name, fetch, unpack
from efficientdet.errors import CheckpointError, CheckpointUnavailableError, NetworkError

CONTENT = b"weights" * 1000


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yields the address of a server that knows /good, fails at /broken and breaks off at /short."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response({"/good": 200, "/short": 200, "/broken": 503}.get(self.path, 404))
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[: 10 if self.path == "/short" else None])

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()
        thread.join()


def test_a_file_is_fetched_once(server: str, tmp_path: Path) -> None:
    path = fetch(f"{server}/good", tmp_path / "cache" / "good")
    assert path.read_bytes() == CONTENT
    path.write_bytes(b"put here by hand")
    assert fetch(f"{server}/good", path).read_bytes() == b"put here by hand"
    assert list(path.parent.iterdir()) == [path]


def test_the_hash_is_compared(server: str, tmp_path: Path) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    fetch(f"{server}/good", tmp_path / "good", sha256=digest.upper())
    with pytest.raises(CheckpointError, match=f"must have the SHA-256 hash 00.*has {digest}"):
        fetch(f"{server}/good", tmp_path / "good", sha256="00" * 32)


@pytest.mark.parametrize("page", ["broken", "short"])
def test_a_server_that_fails_leaves_nothing(server: str, tmp_path: Path, page: str) -> None:
    with pytest.raises(CheckpointUnavailableError, match=f"put that file at {tmp_path}/{page} yourself"):
        fetch(f"{server}/{page}", tmp_path / page)
    assert not list(tmp_path.iterdir())


def test_a_file_that_the_server_lacks_is_missing(server: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="answered 404; check the address"):
        fetch(f"{server}/other", tmp_path / "other")


def test_without_a_network_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def get(*_: object, **__: object) -> None:
        raise requests.ConnectionError("Name or service not known")

    monkeypatch.setattr(requests, "get", get)
    path = tmp_path / "efficientdet-d0.tar.gz"
    with pytest.raises(CheckpointUnavailableError) as caught:
        fetch("https://host/efficientdet-d0.tar.gz", path)
    assert isinstance(caught.value, NetworkError)
    assert caught.value.missing
    for part in ("efficientdet-d0.tar.gz is not in the cache", str(path), "--pretrained_ckpt=none", "not known"):
        assert part in str(caught.value)


def test_equal_names_of_two_addresses_stay_apart() -> None:
    first, second = cached_name("https://a/model.h5"), cached_name("https://b/model.h5?x=1")
    assert first != second
    assert first.endswith("-model.h5")
    assert second.endswith("-model.h5")
    assert "/" not in cached_name("https://a/..%2f..%2fetc")


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder(None) == tmp_path / "efficientdet"
    assert cache_folder(tmp_path / "x") == tmp_path / "x"


def archive(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 3, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size if kind == tarfile.REGTYPE else 0, link
    return info


def test_an_archive_is_unpacked_once_and_by_content(tmp_path: Path) -> None:
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
        member("link", tarfile.SYMTYPE, link="/etc/passwd"),
        member("link", tarfile.LNKTYPE, link="model.index"),
        member("pipe", tarfile.FIFOTYPE),
    ],
    ids=["up", "up within", "absolute", "symbolic link", "hard link", "pipe"],
)
def test_what_would_leave_the_folder_is_refused(tmp_path: Path, hostile: tarfile.TarInfo) -> None:
    path = archive(tmp_path / "m.tgz", member("model.index"), hostile)
    with pytest.raises(CheckpointError, match=f"member '{hostile.name}' is a link, or would lie outside"):
        unpack(path, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())
    assert sorted(child.name for child in tmp_path.iterdir()) == ["cache", "m.tgz"]


def test_an_archive_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "MAX_UNPACKED_BYTES", 5)
    path = archive(tmp_path / "m.tgz", member("a"), member("b"))
    with pytest.raises(CheckpointError, match="at most 5 bytes"):
        unpack(path, tmp_path / "cache")


def test_half_an_archive_is_damaged(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.tgz", member("a", size=10_000), member("b", size=10_000))
    whole = path.read_bytes()
    for content in (whole[:-20], whole[: len(whole) // 2], gzip.compress(b"no tar"), b"\x1f\x8bno gzip"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="must be a whole tar archive"):
            unpack(path, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())

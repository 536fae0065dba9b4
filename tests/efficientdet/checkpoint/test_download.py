import hashlib
import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from efficientdet.checkpoint import download, transfer_rate
from efficientdet.checkpoint.download import cache_folder, cached_name, cached_path, fetch, shown_url
from efficientdet.checkpoint.locate import find
from efficientdet.errors import CheckpointError, CheckpointUnavailableError, NetworkError

CONTENT = b"\x89HDF\r\n\x1a\n" + b"weights" * 1000
BODIES = {
    "/html": b"<!DOCTYPE html><html>Please log in</html>",
    "/bare-html": b"\n <HTML>Not found</HTML>",
    "/json": b'{"error": "quota exceeded"}',
    "/xml": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    "/empty": b"",
    "/half": b"\x1f\x8b\x08 half a gzip",
}


class QuietServer(http.server.ThreadingHTTPServer):
    """Clients that hang up early are part of the tests."""

    def handle_error(self, *_: object) -> None:
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves /good and the `BODIES`, fails at /broken, truncates /short, and has other faults."""

    def do_GET(self) -> None:
        if self.path.startswith("/slow"):
            self.drip(is_header=self.path == "/slow-header")
            return
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"there")
            return
        body = BODIES.get(self.path, CONTENT)
        known = {"/good", "/short", "/endless", *BODIES}
        self.send_response(503 if self.path == "/broken" else 200 if self.path.partition("?")[0] in known else 404)
        if self.path != "/endless":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: 10 if self.path == "/short" else None])
        while self.path == "/endless":
            self.wfile.write(bytes(1 << 16))

    def drip(self, *, is_header: bool) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"X: " if is_header else b"Transfer-Encoding: chunked\r\n\r\n"))
        for _ in range(400):
            self.wfile.write(b"x" if is_header else b"1\r\nx\r\n")
            self.wfile.flush()
            time.sleep(0.01)

    def log_message(self, *_: object) -> None:
        """Logs nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yields the address of a `Handler`."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with QuietServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()
        thread.join()


def test_download_file_is_fetched_once(server: str, tmp_path: Path) -> None:
    path = fetch(f"{server}/good", tmp_path / "cache" / "good")
    assert path.read_bytes() == CONTENT
    path.write_bytes(b"put here by hand")
    assert fetch(f"{server}/good", path).read_bytes() == b"put here by hand"
    assert list(path.parent.iterdir()) == [path]


def test_download_hash_is_compared(server: str, tmp_path: Path) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    fetch(f"{server}/good", tmp_path / "good", sha256=digest.upper())
    with pytest.raises(CheckpointError, match=f"must have the SHA-256 hash 00.*has {digest}"):
        fetch(f"{server}/good", tmp_path / "good", sha256="00" * 32)


@pytest.mark.parametrize("page", ["broken", "short"])
def test_download_server_that_fails_leaves_nothing(server: str, tmp_path: Path, page: str) -> None:
    with pytest.raises(CheckpointUnavailableError, match=f"copy that file to {tmp_path}/{page} yourself"):
        fetch(f"{server}/{page}", tmp_path / page)
    assert not list(tmp_path.iterdir())


def test_download_file_that_the_server_lacks_is_missing(server: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="answered 404; check the address"):
        fetch(f"{server}/other", tmp_path / "other")


def test_download_without_a_network_names_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def get(*_: object, **__: object) -> None:
        raise requests.ConnectionError("Name or service not known")

    monkeypatch.setattr(requests.Session, "get", get)
    path = tmp_path / "efficientdet-d0.tar.gz"
    with pytest.raises(CheckpointUnavailableError) as caught:
        fetch("https://host/efficientdet-d0.tar.gz", path)
    assert isinstance(caught.value, NetworkError)
    assert caught.value.missing
    for part in ("efficientdet-d0.tar.gz is not in the cache", str(path), "not known"):
        assert part in str(caught.value)
    assert "--" not in str(caught.value)  # A library has no command-line options.


def test_download_equal_names_of_two_addresses_stay_apart() -> None:
    first, second = cached_name("https://a/model.h5"), cached_name("https://b/model.h5?x=1")
    assert first != second
    assert first.endswith("-model.h5")
    assert second.endswith("-model.h5")
    assert "/" not in cached_name("https://a/..%2f..%2fetc")


def test_download_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder(None) == tmp_path / "efficientdet"
    assert cache_folder(tmp_path / "x") == tmp_path / "x"


@pytest.mark.parametrize("page", [*BODIES, "/short"])
def test_download_answer_that_is_no_checkpoint_is_not_kept(server: str, tmp_path: Path, page: str) -> None:
    for _ in range(2):
        with pytest.raises(CheckpointError):
            find(f"{server}{page}", tmp_path)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("page", "words"), [("/html", "an HTML page"), ("/json", "a JSON text"), ("/empty", "empty")])
def test_download_answer_that_is_no_checkpoint_is_named(server: str, tmp_path: Path, page: str, words: str) -> None:
    with pytest.raises(CheckpointError, match=f"It is {words}.*Nothing was kept"):
        fetch(f"{server}{page}", tmp_path / "file")


def test_download_file_laid_into_the_cache_by_hand_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / cached_name("http://host/model.tgz")
    path.write_bytes(b"\x1f\x8b no gzip")
    with pytest.raises(CheckpointError, match="must be a complete tar archive"):
        find("http://host/model.tgz", tmp_path)
    assert path.exists()


@pytest.mark.parametrize("page", ["/endless", "/good"])
def test_download_has_a_limit(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    monkeypatch.setattr(download, "MAX_DOWNLOAD_BYTES", 5000)
    with pytest.raises(CheckpointError, match=r"at most 5,000 bytes.*nothing was kept"):
        fetch(server + page, tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_download_full_disk_is_seen_before_the_first_byte(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(OSError, match="the disk has 10 free") as caught:
        fetch(f"{server}/good", tmp_path / "file")
    assert caught.value.errno == 28


@pytest.mark.parametrize("page", ["/slow-header", "/slow-body"])
def test_download_gives_up_a_slow_server(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    monkeypatch.setattr(transfer_rate, "WINDOW_SECONDS", 0.2)
    with pytest.raises(CheckpointUnavailableError, match=r"bytes arrived in \d+ seconds"):
        fetch(server + page, tmp_path / "file")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("target", ["http://[::1", "ftp://host/a", "http://h:99999/", "file:///etc/passwd"])
def test_download_redirect_to_what_is_no_address_is_refused(server: str, tmp_path: Path, target: str) -> None:
    with pytest.raises(CheckpointError, match="targets of its redirects"):
        fetch(f"{server}/to/{target}", tmp_path / "file")


def test_download_redirect_is_followed(server: str, tmp_path: Path) -> None:
    assert fetch(f"{server}/to/{server}/good", tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:s3cret@host:8/a.tgz?token=T0K3N&x", "https://***@host:8/a.tgz?token=***&***"),
        ("https://host/a.tgz", "https://host/a.tgz"),
        ("https://T0K3N@host/a", "https://***@host/a"),
        ("https://host/?T0K3N", "https://host/?***"),
        ("http://me:s3/cret@host/a", "http://***/***@host/a"),
        ("http://[s3cret", "http://***"),
    ],
)
def test_download_url_is_shown_without_secrets(url: str, shown: str) -> None:
    assert shown_url(url) == shown


@pytest.mark.parametrize("page", ["/broken", "/other", "/html", "/to/http://[::1", "/short"])
def test_download_no_message_holds_a_secret(server: str, tmp_path: Path, page: str) -> None:
    url = server.replace("//", "//me:s3cret@") + page + "?token=T0K3N"
    with pytest.raises((CheckpointError, FileNotFoundError)) as caught:
        fetch(url, tmp_path / "file", sha256="0" * 64)
    assert "s3cret" not in str(caught.value)
    assert "T0K3N" not in str(caught.value)


def test_download_what_a_killed_process_left_is_cleared_after_an_hour(server: str, tmp_path: Path) -> None:
    import os

    for name, age in (("file.11.part", 7200), ("file.12.part", 60)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    fetch(f"{server}/good", tmp_path / "file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "file.12.part"]


def test_download_file_in_an_earlier_cache_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    here = tmp_path / "efficientdet" / "a.tgz"
    earlier = tmp_path / "efficientdet-pipeline" / "checkpoints" / "a.tgz"
    assert cached_path("a.tgz", None) == here
    earlier.parent.mkdir(parents=True)
    earlier.touch()
    assert cached_path("a.tgz", None) == earlier
    assert cached_path("a.tgz", tmp_path / "x") == tmp_path / "x" / "a.tgz"
    here.parent.mkdir()
    here.touch()
    assert cached_path("a.tgz", None) == here

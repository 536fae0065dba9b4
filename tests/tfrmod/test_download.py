import gzip
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import efficientdet
import pytest

from tfrmod import download, transfer_rate
from tfrmod.download import cache_path, fetch
from tfrmod.errors import DatasetError, NetworkError
from tfrmod.urls import url_id

CONTENT = bytes(range(256)) * 4096  # 1 MiB.


class QuietServer(ThreadingHTTPServer):
    """Clients that hang up early are part of the tests."""

    def handle_error(self, *_: object) -> None:
        pass


class Server:
    """An HTTP server with configurable behavior."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.etag: str | None = '"v1"'
        self.statuses: list[int] = []
        self.break_after: list[int] = []
        self.knows_ranges = True
        self.heeds_conditions = True
        self.headers: dict[str, str] = {}
        self.requests: list[dict[str, str]] = []
        self.sent = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = QuietServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/my%20photos.zip"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests.append(dict(handler.headers))
        asked = handler.headers
        if self.statuses:
            handler.send_response(self.statuses.pop(0))
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        if self.etag and asked.get("If-None-Match") == self.etag:
            handler.send_response(304)
            handler.end_headers()
            return
        start = 0
        is_same = asked.get("If-Range") == self.etag or not self.heeds_conditions
        if self.knows_ranges and asked.get("Range") and is_same:
            start = int(asked["Range"].removeprefix("bytes=").rstrip("-"))
        if start >= len(self.content) > 0:
            handler.send_response(416)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        if self.etag:
            handler.send_header("ETag", self.etag)
        body = self.content[start:]
        for name, value in ({"Content-Length": str(len(body))} | self.headers).items():
            handler.send_header(name, value)
        handler.end_headers()
        cut = self.break_after.pop(0) if self.break_after else len(body)
        handler.wfile.write(body[:cut])
        self.sent += min(cut, len(body))

    def stop(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "_WAITS", (0, 0))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    yield server
    server.stop()


def test_download_file_comes_whole_with_progress_and_a_sidecar(server: Server, tmp_path: Path) -> None:
    steps: list[tuple[int, int | None]] = []
    path = fetch(server.url, tmp_path / "cache", on_progress=lambda *step: steps.append(step))
    assert path == cache_path(server.url, tmp_path / "cache")
    assert path.name.endswith("-my_photos.zip")
    assert path.read_bytes() == CONTENT
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    sidecar = json.loads(Path(f"{path}.json").read_text())
    assert sidecar["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert (sidecar["url"], sidecar["etag"], sidecar["size"]) == (server.url, '"v1"', len(CONTENT))
    assert sidecar["url_id"] == url_id(server.url)
    assert not list(path.parent.glob("*.part*"))


def test_download_cache_is_used_while_the_server_has_the_same(server: Server, tmp_path: Path) -> None:
    path = fetch(server.url, tmp_path)
    assert fetch(server.url, tmp_path) == path
    assert server.sent == len(CONTENT)
    server.content, server.etag = b"new", '"v2"'
    assert fetch(server.url, tmp_path).read_bytes() == b"new"


def test_download_server_that_knows_no_etags_is_believed_by_size(server: Server, tmp_path: Path) -> None:
    server.etag = None
    path = fetch(server.url, tmp_path)
    before = path.stat().st_mtime_ns
    assert fetch(server.url, tmp_path).stat().st_mtime_ns == before
    server.content = b"shorter"
    assert fetch(server.url, tmp_path).read_bytes() == b"shorter"


def test_download_without_a_network_the_cache_is_used(server: Server, tmp_path: Path) -> None:
    path = fetch(server.url, tmp_path)
    server.stop()
    assert fetch(server.url, tmp_path) == path
    with pytest.raises(NetworkError, match=r"--pretrained_ckpt\) could not be fetched"):
        fetch(server.url + "2", tmp_path, flag="--pretrained_ckpt")


def test_download_known_hash_needs_no_network(server: Server, tmp_path: Path) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    path = fetch(server.url, tmp_path, sha256=digest.upper())
    assert fetch(server.url, tmp_path, sha256=digest) == path
    assert len(server.requests) == 1


def test_download_broken_line_is_taken_up_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.break_after = [300_000, 200_000]
    assert fetch(server.url, tmp_path).read_bytes() == CONTENT
    assert server.requests[1]["Range"] == "bytes=262144-"
    assert server.requests[2]["Range"] == "bytes=458752-"
    assert server.sent < len(CONTENT) + 2 * (1 << 16)


def test_download_later_run_goes_on_with_what_an_earlier_one_left(server: Server, tmp_path: Path) -> None:
    server.break_after = [100_000, 0, 0, 0]
    with pytest.raises(NetworkError, match=r"the connection broke.* 65,536 bytes received are kept"):
        fetch(server.url, tmp_path)
    assert fetch(server.url, tmp_path).read_bytes() == CONTENT
    assert server.requests[-1]["Range"] == "bytes=65536-"


def test_download_server_without_ranges_begins_anew(server: Server, tmp_path: Path) -> None:
    server.knows_ranges = False
    server.break_after = [300_000]
    assert fetch(server.url, tmp_path).read_bytes() == CONTENT


def test_download_file_that_changed_meanwhile_is_not_patched_together(server: Server, tmp_path: Path) -> None:
    server.break_after = [300_000, 0, 0, 0]
    with pytest.raises(NetworkError):
        fetch(server.url, tmp_path)
    server.content, server.etag = b"other" * 99, '"v2"'
    assert fetch(server.url, tmp_path).read_bytes() == b"other" * 99


def test_download_part_that_is_too_long_is_thrown_away(server: Server, tmp_path: Path) -> None:
    server.break_after = [300_000, 0, 0, 0]
    with pytest.raises(NetworkError):
        fetch(server.url, tmp_path)
    part = Path(f"{cache_path(server.url, tmp_path)}.part")
    part.write_bytes(bytes(len(CONTENT)))
    assert fetch(server.url, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [404, 410])
def test_download_missing_file_is_missing(server: Server, tmp_path: Path, status: int) -> None:
    server.statuses = [status]
    with pytest.raises(DatasetError, match=rf"my%20photos\.zip \(--url_dataset\) answered {status}") as caught:
        fetch(server.url, tmp_path)
    assert caught.value.missing
    assert len(server.requests) == 1


def test_download_refusal_is_no_network_fault(server: Server, tmp_path: Path) -> None:
    server.statuses = [403]
    with pytest.raises(DatasetError, match=r"answered 403.*log-in") as caught:
        fetch(server.url, tmp_path)
    assert not isinstance(caught.value, NetworkError)
    assert not caught.value.missing


def test_download_retries_a_failing_server(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 429]
    assert fetch(server.url, tmp_path).read_bytes() == CONTENT
    server.statuses = [500] * 9
    with pytest.raises(NetworkError, match="it answered 500"):
        fetch(server.url + "x", tmp_path)


def test_download_another_hash_is_refused_and_the_file_not_kept(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"and 0000.* was expected"):
        fetch(server.url, tmp_path, sha256="0" * 64)
    assert [name for name in os.listdir(tmp_path) if not name.endswith(".lock")] == []


def test_download_unreachable_host_is_a_network_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_WAITS", ())
    monkeypatch.setenv("NO_PROXY", "*")
    for url in ("http://127.0.0.1:9/a.zip", "http://nowhere.invalid/a.zip"):
        with pytest.raises(NetworkError, match="could not be fetched"):
            fetch(url, tmp_path)


@pytest.mark.parametrize(
    "url",
    ["", "photos.zip", "ftp://host/a.zip", "file:///etc/passwd", "gs://bucket/a.zip", "https://", "http://[::1/a.zip"],
)
def test_download_only_web_addresses_are_downloaded(tmp_path: Path, url: str) -> None:
    with pytest.raises(DatasetError, match="must be an http or https address"):
        fetch(url, tmp_path)


def test_download_hash_must_look_like_one(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="64 hexadecimal digits"):
        fetch("http://host.invalid/a", tmp_path, sha256="abc")


def test_download_full_disk_is_seen_before_the_first_byte(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(OSError, match="the disk has 10 free") as caught:
        fetch(server.url, tmp_path)
    assert caught.value.errno == 28


@pytest.mark.parametrize(
    "header", [("Content-Length", "9" * 5000), ("Content-Length", "\u00b2"), ("Content-Length", "-5")]
)
def test_download_numbers_that_are_none(server: Server, tmp_path: Path, header: tuple[str, str]) -> None:
    server.headers = dict([header])
    assert fetch(server.url, tmp_path).read_bytes() == CONTENT


def test_download_server_that_forgets_what_it_was_asked(server: Server, tmp_path: Path) -> None:
    """It continues with another file at the offset of the old one."""
    server.break_after = [300_000, 0, 0, 0]
    with pytest.raises(NetworkError):
        fetch(server.url, tmp_path)
    server.content, server.etag, server.heeds_conditions = CONTENT[::-1], '"v2"', False
    assert fetch(server.url, tmp_path).read_bytes() == CONTENT[::-1]


def test_download_body_packed_for_the_way_is_unpacked_and_never_continued(server: Server, tmp_path: Path) -> None:
    server.content = gzip.compress(CONTENT)
    server.headers = {"Content-Encoding": "gzip"}
    server.break_after = [len(server.content) // 2]
    assert fetch(server.url, tmp_path).read_bytes() == CONTENT
    assert [request.get("Range") for request in server.requests] == [None, None]


@pytest.mark.parametrize("is_stated", [True, False])
def test_download_stream_without_end_is_cut_off(server: Server, tmp_path: Path, is_stated: bool) -> None:
    server.headers = {} if is_stated else {"Content-Length": "unknown"}
    with pytest.raises(DatasetError, match=r"at most 300,000 are accepted\. Nothing was kept"):
        fetch(server.url, tmp_path, max_bytes=300_000)
    assert os.listdir(tmp_path) == []


def test_download_file_that_proved_bad_can_be_forgotten(server: Server, tmp_path: Path) -> None:
    download.forget(fetch(server.url, tmp_path))
    assert os.listdir(tmp_path) == []
    assert fetch(server.url, tmp_path).read_bytes() == CONTENT
    assert "If-None-Match" not in server.requests[-1]


@pytest.mark.parametrize(
    "url", ["http://" + "a" * 300 + "/a.zip", "http://h:99999/a.zip", "http://h\x00/a", "http://a b/c"]
)
def test_download_addresses_that_cannot_be_asked(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    with pytest.raises(DatasetError, match="is not an address that can be asked"):
        fetch(url, tmp_path)


def test_download_names_from_the_web_stay_in_the_cache(tmp_path: Path) -> None:
    for url in ("http://h/..%2F..%2Fevil", "http://h/", "http://h/a/b.tar.gz?x=/../y", "http://h/" + "x" * 400):
        path = cache_path(url, tmp_path)
        assert path.parent == tmp_path
        assert len(path.name) <= 113


@pytest.mark.parametrize("page", ["header", "body"])
def test_download_gives_up_a_slow_server(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        server.requests.append(dict(handler.headers))
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"X: " if page == "header" else b'ETag: "v1"\r\n\r\n'))
        for _ in range(400):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.01)

    monkeypatch.setattr(server, "answer", drip)
    monkeypatch.setattr(transfer_rate, "WINDOW_SECONDS", 0.2)
    with pytest.raises(NetworkError, match=r"it sends too slowly: \d+ bytes arrived in \d+ seconds"):
        fetch(server.url, tmp_path)
    assert len(server.requests) == 1  # Further attempts would continue forever, a few bytes at a time.


def test_download_line_that_breaks_after_every_byte_is_given_up(server: Server, tmp_path: Path) -> None:
    server.break_after = [70_000, *[10] * 99]
    with pytest.raises(NetworkError, match="could not be fetched"):
        fetch(server.url, tmp_path)
    assert len(server.requests) < 9


def test_download_server_that_is_slow_to_its_reader_alone_is_not_given_up(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of a slow disk is not the server's."""
    monkeypatch.setattr(transfer_rate, "WINDOW_SECONDS", 0.1)
    monkeypatch.setattr(transfer_rate, "MIN_BYTES_PER_SECOND", 1 << 24)
    path = fetch(server.url, tmp_path, on_progress=lambda *_: time.sleep(0.02))
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("target", ["http://[::1", "ftp://host/a.zip", "http://h:99999/", "file:///etc/passwd"])
def test_download_redirect_to_what_is_no_address_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.setattr(server, "answer", lambda handler: redirect(handler, target))
    with pytest.raises(DatasetError, match="leads on to one that is not") as caught:
        fetch(server.url, tmp_path)
    assert not isinstance(caught.value, NetworkError)


def redirect(handler: BaseHTTPRequestHandler, target: str, *, endless: bool = False) -> None:
    handler.wfile.write(f"HTTP/1.1 302 Found\r\nLocation: {target}\r\n\r\n".encode())
    while endless:
        handler.wfile.write(bytes(1 << 16))


def test_download_body_of_a_redirect_is_not_read(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """requests would read it whole into memory."""
    answer = server.answer

    def lead_on(handler: BaseHTTPRequestHandler) -> None:
        if handler.path == "/first":
            redirect(handler, server.url, endless=True)
        else:
            answer(handler)

    monkeypatch.setattr(server, "answer", lead_on)
    assert fetch(server.url.rpartition("/")[0] + "/first", tmp_path).read_bytes() == CONTENT


SECRETS = ("s3cret", "T0K3N")


@pytest.mark.parametrize("status", [0, 403, 404, 500])
def test_download_neither_messages_nor_the_cache_hold_secrets(
    server: Server, tmp_path: Path, status: int, caplog
) -> None:
    url = server.url.replace("//", "//me:s3cret@") + "?token=T0K3N"
    server.statuses = [status] * 9 if status else []
    shown = ""
    if status:
        with pytest.raises(DatasetError) as caught:
            fetch(url, tmp_path)
        shown = str(caught.value)
        assert "my%20photos.zip?token=***" in shown
    else:
        fetch(url, tmp_path)
        server.statuses = [500] * 9
        fetch(url, tmp_path)
        shown = caplog.text
        assert "the copy in the cache is used" in shown
    kept = "".join(path.name + path.read_bytes().decode("latin-1") for path in tmp_path.iterdir() if path.is_file())
    assert not [secret for secret in SECRETS if secret in shown + kept]


def test_download_file_fetched_by_an_earlier_version_is_still_known(server: Server, tmp_path: Path) -> None:
    path = fetch(server.url, tmp_path)
    sidecar = Path(f"{path}.json")
    content = json.loads(sidecar.read_text())
    del content["url_id"]
    sidecar.write_text(json.dumps(content))
    fetch(server.url, tmp_path)
    assert server.sent == len(CONTENT)


def test_download_words_of_a_server_cannot_steer_a_terminal(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse = b"HTTP/1.1 403 \x1b]0;PWNED\x07\x9b2J\r\nContent-Length: 0\r\n\r\n"
    monkeypatch.setattr(server, "answer", lambda handler: handler.wfile.write(refuse))
    with pytest.raises(DatasetError, match="answered 403") as caught:
        fetch(server.url, tmp_path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!doctype html><html>log in", "an HTML page"),
        (b"", "an empty file"),
        (b"PK\x03\x04 half", "a zip archive that is cut off or damaged"),
        (b"\x1f\x8b", "a gzip archive"),
    ],
)
def test_download_answer_that_is_no_zip_is_not_kept(server: Server, tmp_path: Path, content: bytes, words: str) -> None:
    server.content = content
    for _ in range(2):
        with pytest.raises(DatasetError, match=f"must be a zip archive. The server sent {words}.*nothing was kept"):
            fetch(server.url, tmp_path, is_zip=True)
        assert [name for name in os.listdir(tmp_path) if not name.endswith(".lock")] == []


def test_download_both_packages_give_up_at_the_same_rate() -> None:
    """The packages do not import each other, so each has a copy of the file."""
    twin = Path(efficientdet.__file__).parent / "checkpoint" / "transfer_rate.py"
    assert twin.read_text() == Path(transfer_rate.__file__).read_text()

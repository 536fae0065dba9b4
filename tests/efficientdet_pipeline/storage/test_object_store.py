"""Objects are listed, fetched, stored and deleted; failures are repeated, or told in one sentence."""

from pathlib import Path
from typing import Any

import pytest

from efficientdet_pipeline.errors import CannotWriteError, DownloadError, MissingError, MissingExtraError, OptionsError
from efficientdet_pipeline.storage import object_store
from efficientdet_pipeline.storage.object_store import ObjectStore, is_remote, open_store, storage_error


def use(store: ObjectStore, url: str, folder: Path) -> None:
    store.write(f"{url}/a/one.txt", b"one")
    (folder / "two.bin").write_bytes(bytes(1000))
    store.upload(folder / "two.bin", f"{url}/a/b/two.bin")
    store.write(f"{url}/ab.txt", b"not below a")
    assert [(each.key, each.size) for each in store.list(f"{url}/a")] == [("b/two.bin", 1000), ("one.txt", 3)]
    assert [(each.key, each.size) for each in store.list(f"{url}/a/one.txt")] == [("", 3)]
    assert store.list(f"{url}/none") == []
    tag = store.list(f"{url}/a/one.txt")[0].tag
    store.write(f"{url}/a/one.txt", b"1..")
    assert store.list(f"{url}/a/one.txt")[0].tag != tag
    assert store.read(f"{url}/a/one.txt") == b"1.."
    assert store.read(f"{url}/a/none.txt") is None
    store.download(f"{url}/a/b/two.bin", folder / "new" / "two.bin", size=1000)
    assert (folder / "new" / "two.bin").read_bytes() == bytes(1000)
    store.delete([f"{url}/a/one.txt", f"{url}/a/one.txt"])
    assert store.read(f"{url}/a/one.txt") is None


def test_object_store_in_memory(store: ObjectStore, tmp_path: Path) -> None:
    use(store, "gs://bucket", tmp_path)


def test_object_store_of_a_service(emulated: tuple[str, ObjectStore], tmp_path: Path) -> None:
    url, store = emulated
    use(store, f"{url}/objects", tmp_path)
    other = f"{url.partition('://')[0]}://no-such-bucket"
    with pytest.raises(MissingError, match=r"There is no bucket .*no-such-bucket"):
        store.write(f"{other}/a", b"x")


class Failing:
    def __init__(self, *errors: Exception):
        self.errors = list(errors)

    def cat_file(self, path: str) -> bytes:
        if self.errors:
            raise self.errors.pop(0)
        return b"content"

    def get_file(self, path: str, local: str) -> None:
        Path(local).write_bytes(b"cut" if self.errors else b"whole")
        if self.errors:
            self.errors.pop(0)


def test_object_store_repeats_what_may_pass(tmp_path: Path) -> None:
    waits: list[float] = []
    store = ObjectStore(Failing(*[ConnectionError("reset")] * 4), sleep=waits.append)
    assert store.read("s3://b/a") == b"content"
    assert len(waits) == 4
    assert all(0 <= wait <= 0.5 * 2**number for number, wait in enumerate(waits, start=1))
    store = ObjectStore(Failing(*[TimeoutError("slow")] * 9), sleep=waits.append)
    with pytest.raises(DownloadError, match=r"Cannot read s3://b/a: all attempts failed, the last with slow"):
        store.read("s3://b/a")
    assert len(waits) == 8
    store = ObjectStore(Failing(ValueError(), ValueError()), sleep=waits.append)
    store.download("s3://b/a", tmp_path / "a", size=5)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    store = ObjectStore(Failing(*[ValueError()] * 9), sleep=waits.append)
    with pytest.raises(DownloadError, match="3 of 5 bytes arrived"):
        store.download("s3://b/a", tmp_path / "b", size=5)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_object_store_repeats_for_a_minute_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 40.0, 80.0])
    monkeypatch.setattr(object_store.time, "monotonic", lambda: next(times))
    waits: list[float] = []
    store = ObjectStore(Failing(*[ConnectionError("reset")] * 9), sleep=waits.append)
    with pytest.raises(DownloadError, match="all attempts failed"):
        store.read("s3://b/a")
    assert len(waits) == 1


class NoCredentialsError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (NoCredentialsError("Unable to locate"), OptionsError, "no valid credentials .* Run `aws configure`"),
        (OSError("Anonymous caller does not have access"), OptionsError, "no valid credentials"),
        (PermissionError("Access Denied"), CannotWriteError, r"no permission \(Access Denied\)\. Grant it the right"),
        (OSError("Forbidden: b/a"), CannotWriteError, "no permission"),
        (FileNotFoundError("The specified bucket does not exist"), MissingError, "There is no bucket s3://b"),
        (FileNotFoundError("b/a"), MissingError, "There is nothing at s3://b/a"),
        (OSError("SlowDown: reduce"), DownloadError, "quota is used up"),
        (OSError(16, "Please reduce your request rate."), DownloadError, "quota is used up"),
        (OSError("no space, 507"), DownloadError, "quota is used up"),
        (OSError("Forbidden: b/a\nThe egress quota was exceeded"), DownloadError, "quota is used up"),
        (PermissionError("The AWS Access Key Id you provided does not exist"), OptionsError, "no valid credentials"),
        (PermissionError("The provided token has expired."), OptionsError, r"no valid credentials \(The .* expired\)"),
        (OSError("Forbidden: http://host/quota/429 no"), CannotWriteError, "no permission"),
        (OSError(), DownloadError, "all attempts failed, the last with OSError"),
    ],
)
def test_storage_error_says_what_to_do(error: Exception, kind: type, message: str) -> None:
    found = storage_error(error, "s3://b/a", "read")
    assert type(found) is kind
    with pytest.raises(kind, match=message):
        raise found


@pytest.mark.parametrize("error", [PermissionError("Access Denied"), NoCredentialsError("Unable to locate")])
def test_object_store_does_not_repeat_what_lasts(error: Exception) -> None:
    waits: list[float] = []
    with pytest.raises((CannotWriteError, OptionsError)):
        ObjectStore(Failing(error), sleep=waits.append).read("s3://b/a")
    assert waits == []


def test_open_store_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(object_store.importlib, "import_module", missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'efficientdet-pipeline\[gcs\]'"):
        open_store("gs://b/a")


def test_is_remote_knows_the_two_services() -> None:
    assert is_remote("gs://b/a")
    assert is_remote("s3://b/*")
    for text in ("https://b/a", "a", "gs:/b", None, 3, "gs"):
        assert not is_remote(text)

"""A bucket in memory, one that fails or is cut off at a given call, and the emulators of the two services."""

import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from efficientdet_pipeline.storage.object_store import ObjectStore, open_store

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed: pip install -r requirements-dev.txt")


class CutOff:
    """A file system of fsspec that does `calls` of what changes a bucket, and then nothing more."""

    def __init__(self, files: Any, calls: int):
        self._files, self.left = files, calls

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._files, name)
        if name not in {"pipe_file", "put_file", "rm_file"}:
            return found

        def counted(*arguments: Any) -> Any:
            if self.left == 0:
                raise GeneratorExit
            self.left -= 1
            return found(*arguments)

        return counted


@pytest.fixture
def memory() -> Iterator[Any]:
    from fsspec.implementations.memory import MemoryFileSystem

    files = MemoryFileSystem(skip_instance_cache=True)
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    yield files
    files.store.clear()


@pytest.fixture
def store(memory: Any) -> ObjectStore:
    return ObjectStore(memory, sleep=lambda seconds: None)


@pytest.fixture
def cut_off(memory: Any) -> Callable[[int], ObjectStore]:
    """Returns a function: number of changes → a store that is killed after them."""
    return lambda calls: ObjectStore(CutOff(memory, calls), sleep=lambda seconds: None)


@pytest.fixture
def limited_to() -> Callable[[ObjectStore, int], ObjectStore]:
    """Returns a function: store, number of changes → the store, which is killed after them."""
    return lambda store, calls: ObjectStore(CutOff(store._files, calls))


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    pytest.importorskip("s3fs", reason="s3fs is not installed: pip install 'efficientdet-pipeline[s3]'")
    server = pytest.importorskip("moto.server", reason="moto is not installed: pip install 'moto[server,s3]'")
    import boto3

    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    values = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    boto3.client("s3").create_bucket(Bucket="bucket")
    yield "s3://bucket"
    running.stop()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture(scope="session")
def gs_url() -> Iterator[str]:
    pytest.importorskip("gcsfs", reason="gcsfs is not installed: pip install 'efficientdet-pipeline[gcs]'")
    server = pytest.importorskip(
        "gcp_storage_emulator.server", reason="the emulator is not installed: pip install gcp-storage-emulator"
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    running = server.create_server("127.0.0.1", port, in_memory=True, default_bucket="bucket")
    running.start()
    before = os.environ.get("STORAGE_EMULATOR_HOST")
    os.environ["STORAGE_EMULATOR_HOST"] = f"http://127.0.0.1:{port}"
    yield "gs://bucket"
    running.stop()
    os.environ.pop("STORAGE_EMULATOR_HOST")
    if before is not None:
        os.environ["STORAGE_EMULATOR_HOST"] = before


@pytest.fixture(params=["s3", "gs"])
def emulated(request: pytest.FixtureRequest) -> tuple[str, ObjectStore]:
    """Returns the address of a bucket of an emulated service, and its store."""
    url = request.getfixturevalue(f"{request.param}_url")
    return url, open_store(url)

"""A bucket in memory, one that fails or is cut off at a given call, and the emulators of the two services."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from bucket_emulators import EMULATORS, set_in_environment

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


@pytest.fixture(scope="session", params=["s3", "gs"])
def emulated_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yields the address of a bucket of an emulated service."""
    with EMULATORS[request.param]() as found, set_in_environment(found):
        yield f"{request.param}://bucket"


@pytest.fixture
def emulated(emulated_url: str) -> tuple[str, ObjectStore]:
    """Returns the address of a bucket of an emulated service, and its store."""
    return emulated_url, open_store(emulated_url)

"""Mirrored folders: wherever an upload is cut off, a reader gets one consistent state, or an error."""

import contextlib
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from efficientdet_pipeline.errors import DataError, OptionsError
from efficientdet_pipeline.storage.fetched import UPLOADING, fetch
from efficientdet_pipeline.storage.mirror import MANIFEST, OutputMirror, RunMirror
from efficientdet_pipeline.storage.object_store import ObjectStore

URL = "gs://bucket/runs/first"
STEPS = 3
KILLED = GeneratorExit
"""What `cut_off` raises: no Exception, which the code under test might handle."""


def write_step(folder: Path, step: int) -> None:
    """Writes what a training has after a step: two checkpoints, of which the older one was renamed, and its records."""
    last, previous = folder / "checkpoints" / "last", folder / "checkpoints" / "last.previous"
    shutil.rmtree(previous, ignore_errors=True)
    if last.exists():
        last.rename(previous)
    last.mkdir(parents=True)
    for name in ("model.weights.h5", "state.npz", "checkpoint.json"):
        (last / name).write_text(f"{name} {step}")
    for name in ("results.csv", "metadata.json", "log.txt"):
        (folder / name).write_text("".join(f"{name} {number}\n" for number in range(step + 1)))
    export = folder / "export"
    export.mkdir(exist_ok=True)
    (export / "model.pb").write_text(f"export {step}")
    (export / f"only_{step}.txt").write_text("x")
    (export / f"only_{step - 1}.txt").unlink(missing_ok=True)
    for name in (".lock", ".tfrecords.lock", "cache/images.raw", "checkpoints/.last.new/state.npz", ".a.partial-1"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("not mirrored")
    (folder / ".efficientdet-run").write_text("{}")


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "not mirrored" not in path.read_text()
    }


@pytest.fixture
def expected(tmp_path: Path) -> list[dict[str, str]]:
    """Returns the files of a run after each step."""
    found = []
    for step in range(STEPS):
        write_step(tmp_path / "expected", step)
        found.append(content(tmp_path / "expected"))
    return found


def pulled(store: ObjectStore, folder: Path, url: str = URL) -> dict[str, str] | None:
    mirror = RunMirror(store, url, folder)
    return content(folder) if mirror.pull() else None


def test_run_mirror_is_whole_wherever_it_is_cut_off(
    store: ObjectStore, cut_off: Callable[[int], ObjectStore], expected: list[dict[str, str]], tmp_path: Path
) -> None:

    seen = set()
    for calls in itertools.count():
        url, folder = f"{URL}{calls}", tmp_path / f"work{calls}"
        limited = cut_off(calls)
        mirror = RunMirror(limited, url, folder)
        assert not mirror.pull()
        stored = -1
        try:
            for step in range(STEPS):
                write_step(folder, step)
                mirror.push()
                stored = step
        except KILLED:
            """The process ended there."""
        found = pulled(store, tmp_path / f"other{calls}", url)
        place = -1 if found is None else expected.index(found)
        # What was stored is there; what was being stored is there or not.
        assert place in (stored, stored + 1)
        seen.add(place)
        # The next process of the same machine continues, and stores the rest.
        again = RunMirror(store, url, folder)
        again.pull()
        if folder.exists():
            again.push()
            assert pulled(store, tmp_path / f"third{calls}", url) == content(folder)
            # Objects of the killed process that no manifest names are deleted.
            listed = json.loads(store.read(f"{url}/{MANIFEST}") or b"")["files"].values()
            stored_keys = {f"objects/{each.key}" for each in store.list(f"{url}/objects")}
            assert stored_keys == {each["key"] for each in listed}
        if stored == STEPS - 1:
            break
    assert seen == {-1, 0, 1, 2}
    assert calls > 30


def test_run_mirror_keeps_one_content_once_and_nothing_old(
    store: ObjectStore, expected: list[dict[str, str]], tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    mirror = RunMirror(store, URL, folder)
    mirror.pull()
    for step in range(STEPS):
        write_step(folder, step)
        mirror.push()
    keys = [each.key for each in store.list(URL)]
    assert len([key for key in keys if key.endswith("state.npz")]) == 2
    plain = {key for key in keys if not key.startswith("objects/")}
    assert {"log.txt", "results.csv", "export/model.pb", "export/only_2.txt", "run-manifest.json"} <= plain
    assert not {"export/only_1.txt", f"export/{UPLOADING}", ".lock", "cache/images.raw"} & plain
    assert store.read(f"{URL}/results.csv") == (folder / "results.csv").read_bytes()


def test_run_mirror_takes_the_newer_side(store: ObjectStore, expected: list[dict[str, str]], tmp_path: Path) -> None:
    here, there = RunMirror(store, URL, tmp_path / "here"), RunMirror(store, URL, tmp_path / "there")
    here.pull()
    write_step(here.folder, 0)
    here.push()
    write_step(here.folder, 1)
    # Killed before it was stored: the same machine goes on from the newer checkpoint.
    assert pulled(store, here.folder) == expected[1]
    assert there.pull()
    write_step(there.folder, 1)
    write_step(there.folder, 2)
    there.push()
    with pytest.raises(OptionsError, match="Another process has stored the run gs://bucket/runs/first"):
        here.push()
    assert pulled(store, here.folder) == expected[2]
    for each in store.list(URL):
        store.delete([f"{URL}/{each.key}"])
    assert pulled(store, here.folder) is None
    assert not here.folder.exists()


def test_run_mirror_notices_a_second_process_that_stores_meanwhile(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (RunMirror(store, URL, tmp_path / name) for name in ("one", "two"))
    for mirror in (one, two):
        mirror.pull()
        write_step(mirror.folder, 0)
    upload = ObjectStore.upload

    def upload_while_another_finishes(self: ObjectStore, path: Path, url: str) -> None:
        monkeypatch.setattr(ObjectStore, "upload", upload)
        two.push()
        upload(self, path, url)

    monkeypatch.setattr(ObjectStore, "upload", upload_while_another_finishes)
    with pytest.raises(OptionsError, match="Another process has stored the run"):
        one.push()
    assert pulled(store, tmp_path / "other") == content(two.folder)


def test_run_mirror_finds_damage(store: ObjectStore, tmp_path: Path) -> None:
    mirror = RunMirror(store, URL, tmp_path / "work")
    mirror.pull()
    write_step(mirror.folder, 0)
    mirror.push()
    key = next(each.key for each in store.list(URL) if each.key.endswith("state.npz"))
    store.write(f"{URL}/{key}", b"STATE.NPZ 0")
    with pytest.raises(DataError, match=r"state\.npz differs from what was stored"):
        pulled(store, tmp_path / "other")
    store.write(f"{URL}/run-manifest.json", b'{"id": 3}')
    with pytest.raises(DataError, match="must list the files of a run"):
        pulled(store, tmp_path / "other")


def test_output_mirror_is_marked_until_it_is_whole(
    store: ObjectStore, cut_off: Callable[[int], ObjectStore], tmp_path: Path
) -> None:
    url = "gs://bucket/export"
    store.write(f"{url}/old.txt", b"old")
    store.write(f"{url}/same.txt", b"same")
    for calls in itertools.count():
        mirror = OutputMirror(cut_off(calls), url, tmp_path / f"work{calls}")
        mirror.pull()
        (mirror.folder / "old.txt").unlink(missing_ok=True)
        (mirror.folder / "new.txt").write_text(f"new {calls}")
        try:
            mirror.push()
        except KILLED:
            if calls:
                with pytest.raises(DataError, match="is incomplete"):
                    fetch(store, url, tmp_path / "cache")
            continue
        break
    assert content(fetch(store, url, tmp_path / "cache")) == {"new.txt": f"new {calls}", "same.txt": "same"}
    assert calls == 4


@pytest.mark.parametrize("calls", [1, 6, 12, 17, 1000])
def test_run_mirror_on_a_service_is_whole_where_it_is_cut_off(
    emulated: tuple[str, ObjectStore],
    limited_to: Callable[[ObjectStore, int], ObjectStore],
    expected: list[dict[str, str]],
    calls: int,
    tmp_path: Path,
) -> None:
    bucket, store = emulated
    url = f"{bucket}/runs/{calls}"
    mirror = RunMirror(limited_to(store, calls), url, tmp_path / "work")
    assert not mirror.pull()
    stored = -1
    with contextlib.suppress(KILLED):
        for step in range(2):
            write_step(mirror.folder, step)
            mirror.push()
            stored = step
    found = pulled(store, tmp_path / "other", url)
    assert (-1 if found is None else expected.index(found)) in (stored, stored + 1)
    assert (stored == 1) == (calls == 1000)

"""Options that name buckets become local ones, and what a mode writes is stored."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from efficientdet_pipeline.addresses import address_of
from efficientdet_pipeline.errors import CannotWriteError, DataError, ExitCode, MissingError, OptionsError, StoppedError
from efficientdet_pipeline.options.parser import Given, Sources
from efficientdet_pipeline.runs.checkpoint_listeners import checkpoint_written
from efficientdet_pipeline.storage.localize import local_storage
from efficientdet_pipeline.storage.object_store import ObjectStore


@pytest.fixture
def opened(store: ObjectStore, tmp_path: Path) -> Callable[..., Any]:
    def enter(mode: str, **options: str) -> Any:
        given = {name: Given(value, "the command line") for name, value in options.items()}
        given["cache_dir"] = Given(str(tmp_path / "cache"), "the command line")
        return local_storage(Sources(mode, given, {}), open_store=lambda url: store)

    return enter


def values(sources: Sources) -> dict[str, str]:
    return {name: str(each.value) for name, each in sources.given.items()}


def test_local_storage_leaves_local_options_alone(opened: Callable[..., Any]) -> None:
    with opened("train", model_dir="runs/a", url_dataset="https://host/a.zip") as found:
        assert values(found)["model_dir"] == "runs/a"
        assert values(found)["url_dataset"] == "https://host/a.zip"


def test_local_storage_fetches_inputs(opened: Callable[..., Any], store: ObjectStore) -> None:
    store.write("gs://b/a.zip", b"zip")
    for number in range(2):
        store.write(f"gs://b/shards/train-{number}", b"x")
    with opened("train", url_dataset="gs://b/a.zip", train_file_pattern="gs://b/shards/train-*,local/*") as found:
        assert Path(values(found)["url_dataset"]).read_bytes() == b"zip"
        assert address_of(values(found)["url_dataset"]) == "gs://b/a.zip"
        assert found.given["url_dataset"].source == "the command line, gs://b/a.zip"
        pattern, local = values(found)["train_file_pattern"].split(",")
        assert len(list(Path(pattern).parent.glob("train-*"))) == 2
        assert local == "local/*"
    with pytest.raises(MissingError, match="There is nothing at gs://b/none"), opened("train", label_map="gs://b/none"):
        pass


def test_local_storage_stores_a_run_after_each_checkpoint(
    opened: Callable[..., Any], store: ObjectStore, tmp_path: Path
) -> None:
    with contextlib.suppress(StoppedError), opened("train", workspace="gs://b/runs", run_name="first") as found:
        run = Path(values(found)["workspace"]) / "first"
        checkpoint = run / "checkpoints" / "last"
        checkpoint.mkdir(parents=True)
        (checkpoint / "state.npz").write_text("1")
        checkpoint_written(tmp_path / "elsewhere" / "last")
        assert store.list("gs://b/runs/first") == []
        checkpoint_written(checkpoint)
        assert store.read("gs://b/runs/first/run-manifest.json") is not None
        (run / "log.txt").write_text("stopped")
        raise StoppedError("stop", exit_code=ExitCode.TRY_AGAIN)
    assert store.read("gs://b/runs/first/log.txt") == b"stopped"
    with opened("eval", path_ckpt="gs://b/runs/first/checkpoints/last") as found:
        assert (Path(values(found)["path_ckpt"]) / "state.npz").read_text() == "1"
        (run / "metrics_eval.json").write_text("{}")
    assert store.read("gs://b/runs/first/metrics_eval.json") == b"{}"


def test_local_storage_stores_outputs_of_a_mode_that_succeeds(opened: Callable[..., Any], store: ObjectStore) -> None:
    with opened("infer", output_image_dir="gs://b/out") as found:
        folder = Path(values(found)["output_image_dir"])
        folder.mkdir(parents=True)
        (folder / "a.jpg").write_text("a")
    assert [each.key for each in store.list("gs://b/out")] == ["a.jpg"]
    with contextlib.suppress(DataError), opened("infer", output_image_dir="gs://b/out") as found:
        assert (folder / "a.jpg").read_text() == "a"
        (folder / "b.jpg").write_text("half")
        raise DataError("no")
    assert [each.key for each in store.list("gs://b/out")] == ["a.jpg"]


@pytest.mark.parametrize(
    ("mode", "options", "kind", "message"),
    [
        ("train", {"workspace": "gs://b/runs"}, OptionsError, "needs a name.*try --run_name=first"),
        ("train", {"study_dir": "gs://b/s"}, OptionsError, "study_dir must be a path of this machine"),
        ("train", {"model_dir": "gs://"}, OptionsError, "must be gs://BUCKET/PATH"),
        ("train", {"model_dir": "gs://b/../a"}, OptionsError, "must be gs://BUCKET/PATH"),
        ("eval", {"model_dir": "gs://b/none"}, MissingError, "There is no run at gs://b/none"),
        ("train", {"model_dir": "gs://b/other"}, DataError, "holds files, but no run"),
        ("train", {"model_dir": "gs://b/a", "strategy": "multiworker"}, OptionsError, "that all processes share"),
    ],
)
def test_local_storage_says_what_cannot_be(
    opened: Callable[..., Any], store: ObjectStore, mode: str, options: dict[str, str], kind: type, message: str
) -> None:
    store.write("gs://b/other/file", b"x")
    with pytest.raises(kind, match=message), opened(mode, **options):
        pass
    assert [each.key for each in store.list("gs://b")] == ["other/file"]


def test_local_storage_has_a_cache_in_every_mode(store: ObjectStore, tmp_path: Path) -> None:
    store.write("gs://b/a.jpg", b"a")
    given = {"input_image": Given("gs://b/*.jpg", "x")}
    read = Sources("infer", given, {"cache_dir": Given(str(tmp_path), "x"), "num_epochs": Given(3, "x")})
    with local_storage(read, open_store=lambda url: store) as found:
        assert values(found)["input_image"].startswith(str(tmp_path))
        assert found.without_effect.keys() == {"num_epochs"}


@pytest.mark.parametrize(("mode", "name"), [("train", "model_dir"), ("infer", "output_image_dir")])
def test_local_storage_finds_a_bucket_that_cannot_be_written_before_the_work(
    memory: Any, tmp_path: Path, mode: str, name: str
) -> None:
    def forbidden(path: str, content: bytes) -> None:
        raise PermissionError("Access Denied")

    memory.pipe_file = forbidden
    read = Sources(mode, {name: Given("gs://b/x", "x"), "cache_dir": Given(str(tmp_path), "x")}, {})
    with (
        pytest.raises(CannotWriteError, match=r"Cannot write gs://b/x: the account has no permission"),
        local_storage(read, open_store=lambda url: ObjectStore(memory)),
    ):
        pass
    del memory.pipe_file

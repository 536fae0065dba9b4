"""Options that name buckets, as local ones: inputs are fetched before a mode runs, runs and outputs stored by it.

>>> with local_storage(sources) as local:
...     run(local)
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from absl import logging

from efficientdet_pipeline.addresses import remember_address
from efficientdet_pipeline.errors import DataError, MissingError, OptionsError, StoppedError
from efficientdet_pipeline.options.parser import Given, Sources
from efficientdet_pipeline.runs.checkpoint_listeners import listening
from efficientdet_pipeline.storage.fetched import fetch, fetch_matching
from efficientdet_pipeline.storage.mirror import MANIFEST, OBJECTS, OutputMirror, RunMirror
from efficientdet_pipeline.storage.object_store import ObjectStore, is_remote, open_store
from efficientdet_pipeline.system import cache_folder

INPUTS = frozenset(
    {
        *(
            "url_dataset",
            "label_map",
            "label_aliases",
            "val_dataset",
            "val_json_file",
            "testdev_dir",
            "detections_json",
        ),
        *("pretrained_ckpt", "backbone_ckpt", "path_ckpt", "path_yaml", "saved_model_dir", "artifacts", "run_dir"),
        *("augment_config", "quant_recipe", "labels_map_file", "space", "input_video"),
    }
)
"""Options whose object or folder is fetched."""
GLOBS = frozenset({"train_file_pattern", "val_file_pattern", "file_pattern", "calibration_file_pattern", "input_image"})
"""Options whose matching objects are fetched."""
OUTPUTS = frozenset(
    {
        *("output_path", "path_output", "publish_dir", "output_image_dir", "serving_dir", "save_samples_dir"),
        *("output_dir", "tensorboard_dir"),
    }
)
"""Options that name a folder to write."""
_RUNS = ("model_dir", "model_ckpts", "workspace")
_TRAINING = {"train", "traineval"}
_WRITE_INTO_RUNS = {"eval", "export"}
_PARENTS = 3


@dataclass
class _Session:
    """What a command has in buckets."""

    cache: Path
    open_store: Callable[[str], ObjectStore]
    runs: list[RunMirror] = field(default_factory=list)
    outputs: list[OutputMirror] = field(default_factory=list)
    stores: dict[str, ObjectStore] = field(default_factory=dict)

    def store(self, url: str) -> ObjectStore:
        scheme = url.partition("://")[0]
        if scheme not in self.stores:
            self.stores[scheme] = self.open_store(url)
        return self.stores[scheme]

    def after_checkpoint(self, checkpoint: Path) -> None:
        """Stores the run that a checkpoint belongs to; runs elsewhere are left alone."""
        for mirror in self.runs:
            if mirror.folder in checkpoint.absolute().parents:
                mirror.push_or_warn()

    def folder(self, url: str) -> Path:
        """Returns the working folder of an address."""
        scheme, _, path = url.partition("://")
        parts = [part for part in path.split("/") if part]
        if not parts or any(part in {".", ".."} or "\\" in part for part in parts):
            raise OptionsError(f"An address must be {scheme}://BUCKET/PATH. Received {url!r}.")
        return self.cache / "buckets" / scheme / Path(*parts)


@contextlib.contextmanager
def local_storage(sources: Sources, *, open_store: Callable[[str], ObjectStore] = open_store) -> Iterator[Sources]:
    """Yields the sources with local paths in place of addresses, and stores runs and outputs at the end.

    Results of a mode that fails are not stored; a run is, as far as it came.

    Raises:
      OptionsError: an option cannot name a bucket.
      PipelineError: a bucket cannot be read or written.
    """
    remote = {name: each for name, each in sources.given.items() if any(map(is_remote, _words(each)))}
    if not remote:
        yield sources
        return
    # Every mode has a cache for what it reads from buckets.
    cache = sources.given.get("cache_dir", sources.without_effect.get("cache_dir"))
    others = {name: each for name, each in sources.without_effect.items() if name != "cache_dir"}
    session = _Session(cache_folder(str(cache.value) if cache is not None else ""), open_store)
    given = {**sources.given, **_localized(session, sources, remote)}
    try:
        with listening(session.after_checkpoint):
            yield replace(sources, given=given, without_effect=others)
    except (StoppedError, KeyboardInterrupt):
        _store_runs(session)
        raise
    except Exception:
        with contextlib.suppress(Exception):  # The first error tells more.
            _store_runs(session)
        raise
    else:
        _store_runs(session)
        for output in session.outputs:
            output.push()


def _store_runs(session: _Session) -> None:
    for mirror in session.runs:
        mirror.push()
        logging.info("The run is stored at %s.", mirror.url)


def _words(given: Given) -> list[str]:
    return [word.strip() for word in str(given.value).split(",")] if isinstance(given.value, str) else []


def _localized(session: _Session, sources: Sources, remote: Mapping[str, Given]) -> dict[str, Given]:
    """Returns the options with addresses, with local paths instead."""
    found: dict[str, Given] = {}
    for name, given in remote.items():
        url = str(given.value)
        if name in INPUTS:
            local = str(_input(session, url, keeps=name == "path_ckpt" and sources.mode in _WRITE_INTO_RUNS))
        elif name in GLOBS:
            local = ",".join(_glob(session, word) if is_remote(word) else word for word in _words(given))
        elif name in OUTPUTS:
            local = str(_output(session, url))
        elif name in _RUNS:
            local = str(_run(session, sources, name, url))
        elif name == "mlflow":
            continue  # Its own address.
        else:
            raise OptionsError(
                f"{name} must be a path of this machine. Received {url!r} from {given.source}; mount the bucket, or "
                "give a local path.",
                option=name,
            )
        remember_address(local, url)
        found[name] = replace(given, value=local, source=f"{given.source}, {url}")
    return found


def _glob(session: _Session, url: str) -> str:
    if not any(letter in url for letter in "*?["):
        return str(_input(session, url))
    return fetch_matching(session.store(url), url, session.cache / "buckets")


def _input(session: _Session, url: str, *, keeps: bool = False) -> Path:
    """Returns the local copy of an object, a folder, a run, or of a part of a run.

    Args:
      keeps: whether what the mode writes into a run is stored.
    """
    store = session.store(url)
    parts = url.rstrip("/").split("/")
    is_object = [each.key for each in store.list(url)] == [""]
    for count in range(_PARENTS + 1):
        root, rest = "/".join(parts[: len(parts) - count]), parts[len(parts) - count :]
        if is_object or len(parts) - count <= 3:
            break
        if store.read(f"{root}/{MANIFEST}") is not None:
            mirror = RunMirror(store, root, session.folder(root).absolute())
            mirror.pull()
            if keeps:
                session.runs.append(mirror)
            return mirror.folder.joinpath(*rest)
    return fetch(store, url, session.cache / "buckets")


def _output(session: _Session, url: str) -> Path:
    """Returns the local folder that stands for a folder of results."""
    session.store(url).check_writable(url)
    output = OutputMirror(session.store(url), url, session.folder(url).absolute())
    output.pull()
    session.outputs.append(output)
    return output.folder


def _run(session: _Session, sources: Sources, name: str, url: str) -> Path:
    """Returns the local folder that stands for the address of a run, of its workspace, or of its output root."""
    is_training = sources.mode in _TRAINING
    if is_training and sources.source_of("strategy") != "default" and sources.given["strategy"].value == "multiworker":
        raise OptionsError(
            f"{name} must be a folder that all processes share. Received {url!r} with several processes; mount the "
            "bucket, or train in one process.",
            option=name,
        )
    root, local = url.rstrip("/"), session.folder(url).absolute()
    if name == "workspace":
        run_name = sources.given.get("run_name")
        if run_name is None:
            raise OptionsError(
                f"A run in a bucket needs a name. Received workspace={url!r} without run_name; try "
                "--run_name=first, or name the run's folder by --model_dir.",
                option="run_name",
            )
        _open_run(session, f"{root}/{run_name.value}", is_training)
    elif name == "model_ckpts":
        _open_run(session, f"{root}/model", is_training)
        if is_training or sources.mode in {"export", "dataset"}:
            _output(session, f"{root}/freeze_model")
    else:
        _open_run(session, root, is_training)
    return local


def _open_run(session: _Session, url: str, is_training: bool) -> None:
    mirror = RunMirror(session.store(url), url, session.folder(url).absolute())
    if is_training:
        session.store(url).check_writable(url)
    is_there = mirror.pull()
    if not is_there and not is_training:
        raise MissingError(f"There is no run at {url}. Check the address.")
    if not is_there and any(not each.key.startswith(f"{OBJECTS}/") for each in session.store(url).list(url)):
        raise DataError(
            f"{url} holds files, but no run that this program stored there. Give another address, or fetch the files "
            "and name their local folder."
        )
    session.runs.append(mirror)

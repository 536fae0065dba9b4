"""HDF5 files of weights: automl's, written by Keras 2; our own, written by Keras 3; and conversions (`convert`).

None of them needs TensorFlow.
"""

import contextlib
import json
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from efficientdet.any_detector import AnyDetector
from efficientdet.automl.variable_names import variable_names
from efficientdet.checkpoint.reader import Contents, Origin, reading
from efficientdet.errors import CheckpointError

ORIGIN = "converted_from"
"""Attribute of a converted file: a JSON object with the fields of `Origin`, and the converter's version."""

_OURS = re.compile(r"(?:^|/)vars/\d+$")
_AUTOMLS = re.compile(r"^[^/]+/(.+):0$")


@contextlib.contextmanager
def open_hdf5(path: Path, model: AnyDetector) -> Iterator[Contents]:
    """Yields the content of an HDF5 file of weights.

    Raises:
      CheckpointError: it is damaged, is not a file of weights, or links to another file.
    """
    with reading(path):
        file = h5py.File(path, "r")
    with file:
        with reading(path):
            datasets = {key: dataset for key, dataset in datasets_of(file, path).items() if not _is_optimizers(key)}
            origin = _origin(file)
        yield _automls(datasets, model, path, origin) or _ours(datasets, model, path)


def read_origin(path: Path) -> Origin | None:
    """Returns the origin of a converted HDF5 file; None for other files.

    Raises:
      CheckpointError: it is damaged.
    """
    with reading(path), h5py.File(path, "r") as file:
        return _origin(file)


def _origin(file: h5py.File) -> Origin | None:
    if ORIGIN not in file.attrs:
        return None
    stated = json.loads(str(file.attrs[ORIGIN]))
    texts = {key: _printable(stated[key]) for key in ("file", "sha256", "layout", "backbone", "licence")}
    return Origin(**texts, notes=tuple(_printable(note) for note in stated["notes"][:9]))


def _printable(text: object) -> str:
    # The file is untrusted, and its strings are printed on a terminal.
    return "".join(letter if letter.isprintable() else " " for letter in str(text))[:300]


def _automls(
    datasets: Mapping[str, h5py.Dataset], model: AnyDetector, path: Path, origin: Origin | None
) -> Contents | None:
    # By name, because the order of fpn_cells differs between releases of automl.
    by_name = {match[1]: dataset for key, dataset in datasets.items() if (match := _AUTOMLS.match(key))}
    if not by_name:
        return None
    return Contents(
        format="h5",
        shapes={name: dataset.shape for name, dataset in by_name.items()},
        keys={name: name for name in variable_names(model) if name in by_name},
        read=lambda name: _values(by_name[name], path),
        origin=origin,
    )


def check_is_ours(keys: Collection[str], path: Path) -> None:
    """Checks that an HDF5 file holds weights as automl or Keras 3 name them.

    Raises:
      CheckpointError: it holds something else.
    """
    if not any(_AUTOMLS.match(key) or _OURS.search(key) for key in keys):
        raise CheckpointError(
            f"{path} must hold weights as automl or Keras 3 write them (.h5, .weights.h5). "
            f"It is an HDF5 file of something else: {', '.join(sorted(keys)[:5]) or 'nothing'}."
        )


def _ours(datasets: Mapping[str, h5py.Dataset], model: AnyDetector, path: Path) -> Contents:
    check_is_ours(datasets, path)
    return Contents(
        format="keras",
        shapes={key: dataset.shape for key, dataset in datasets.items()},
        keys={name: key for name, key in dataset_keys(model).items() if key in datasets},
        read=lambda key: _values(datasets[key], path),
    )


def _values(dataset: h5py.Dataset, path: Path) -> np.ndarray:
    with reading(path):
        return dataset[()]


def _is_optimizers(key: str) -> bool:
    """Returns whether the dataset belongs to the optimizer of a compiled model, which `save_weights` includes."""
    return key.startswith("optimizer/")


def dataset_keys(model: AnyDetector) -> dict[str, str]:
    """Returns the paths under which `model.save_weights` stores variables, by automl's names.

    Keras constructs these paths internally. To obtain them the model is saved to
    a small file in which each layer stores the indices of its variables instead
    of their values.
    """
    names = {id(variable): name for name, variable in variable_names(model).items()}
    numbered: list[str] = []
    layers = list(model._flatten_layers(include_self=False))
    for layer in layers:
        own: dict[str, Any] = {}
        layer.save_own_variables(own)
        numbers = {}
        for key, variable in own.items():
            if id(variable) in names:
                numbers[key] = len(numbered)
                numbered.append(names[id(variable)])
        # Bypasses Keras's __setattr__, which would track the attribute.
        vars(layer)["save_own_variables"] = _writer(numbers)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "map.weights.h5"
            model.save_weights(path)
            with h5py.File(path, "r") as file:
                written = datasets_of(file, path).items()
                return {numbered[int(dataset[()])]: key for key, dataset in written if not _is_optimizers(key)}
    finally:
        for layer in layers:
            vars(layer).pop("save_own_variables", None)


def _writer(numbers: Mapping[str, int]) -> Callable[[MutableMapping[str, Any]], None]:
    def save_own_variables(store: MutableMapping[str, Any]) -> None:
        for key, number in numbers.items():
            store[key] = np.asarray(number, "int32")

    return save_own_variables


def datasets_of(file: h5py.File, path: Path) -> dict[str, h5py.Dataset]:
    """Returns all datasets by path; rejects links, which would make HDF5 open another file."""
    links: dict[str, Any] = {}
    file.visititems_links(lambda name, link: links.update({name: link}))
    for name, link in links.items():
        if not isinstance(link, h5py.HardLink):
            target = getattr(link, "filename", "") or link.path
            raise CheckpointError(
                f"{path} must hold its weights itself. Its entry {name!r} is a link to {target!r}; "
                "such files are not opened."
            )
    datasets = {name: entry for name in links if isinstance(entry := file[name], h5py.Dataset)}
    for name, dataset in datasets.items():
        if dataset.external or dataset.is_virtual:
            raise CheckpointError(
                f"{path} must hold its weights itself. The values of {name!r} lie in another file; "
                "such files are not opened."
            )
    return datasets

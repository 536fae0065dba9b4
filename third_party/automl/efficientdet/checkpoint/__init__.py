"""Checkpoints: reading and writing automl's three file formats, our own, and those of other libraries.

`automl.variable_names` defines automl's names of variables and blocks; all other
modules use its `variable_names` and `block_names`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from efficientdet.automl.variable_names import block_names, variable_names
    from efficientdet.checkpoint.load import LoadReport, load_checkpoint
    from efficientdet.checkpoint.save import save_checkpoint

__all__ = ["LoadReport", "block_names", "load_checkpoint", "save_checkpoint", "variable_names"]

_HOME = {
    "LoadReport": "efficientdet.checkpoint.load",
    "block_names": "efficientdet.automl.variable_names",
    "load_checkpoint": "efficientdet.checkpoint.load",
    "save_checkpoint": "efficientdet.checkpoint.save",
    "variable_names": "efficientdet.automl.variable_names",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

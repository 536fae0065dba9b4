"""Which processes share a training, read from what a cluster puts into the environment."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from efficientdet_pipeline.errors import OptionsError

# TensorFlow's word for it, which Kubeflow and others speak; Vertex AI's own.
TF_CONFIG, CLUSTER_SPEC = "TF_CONFIG", "CLUSTER_SPEC"
_EXAMPLE = (
    'TF_CONFIG=\'{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}\''
)
# Parameter servers and evaluators take no part in a synchronous training.
_TAKE_PART = ("chief", "master", "worker", "workerpool")


@dataclass(frozen=True)
class Processes:
    """The processes of a training, in their order; the first one leads."""

    addresses: tuple[str, ...]
    """host:port of each."""
    index: int
    """Of this process."""

    @property
    def host(self) -> str:
        """Name or address of the leading process's machine."""
        return self.addresses[0].rpartition(":")[0].strip("[]")


def processes_of(environ: Mapping[str, str]) -> Processes:
    """Returns the processes that TF_CONFIG or Vertex's CLUSTER_SPEC names.

    Raises:
      OptionsError: neither is there, or what is there makes no sense.
    """
    name = TF_CONFIG if environ.get(TF_CONFIG) else CLUSTER_SPEC
    text = environ.get(name, "")
    if not text:
        raise OptionsError(
            f"strategy=multiworker needs {TF_CONFIG} or {CLUSTER_SPEC} in the environment, which say where the other "
            f"processes are. Received neither; try {_EXAMPLE}.",
            option="strategy",
        )
    try:
        return _read(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise OptionsError(
            f"{name} must be JSON with cluster and task, like {_EXAMPLE}. Received {text!r}: "
            f"{type(error).__name__} {error}.",
            option="strategy",
        ) from None


def _read(spec: Any) -> Processes:
    cluster, task = spec["cluster"], spec["task"]
    # Names sort as they lead: chief, master, worker; workerpool0, workerpool1.
    kinds = sorted(kind for kind in cluster if kind.startswith(_TAKE_PART) and cluster[kind])
    places = [(kind, index) for kind in kinds for index in range(len(cluster[kind]))]
    own = (task["type"], int(task.get("index", 0)))
    if own not in places:
        raise ValueError(f"the task {own[0]} {own[1]} is none of the cluster's {places}")
    addresses = [str(cluster[kind][index]) for kind, index in places]
    for address in addresses:
        if not address.rpartition(":")[2].isdigit():
            raise ValueError(f"{address!r} is no host:port")
    return Processes(tuple(addresses), places.index(own))

"""Cluster specification from the environment."""

import json

import pytest

from efficientdet_pipeline.errors import OptionsError
from efficientdet_pipeline.training.distributed import ClusterSpec, cluster_spec

WORKERS = {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}


def environ(cluster: dict, kind: str, index: int, name: str = "TF_CONFIG") -> dict[str, str]:
    return {name: json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (environ(WORKERS, "worker", 1), ClusterSpec(("10.0.0.1:2222", "10.0.0.2:2222"), 1)),
        (
            environ({"worker": ["b:1"], "chief": ["a:1"], "ps": ["c:1"], "evaluator": ["d:1"]}, "worker", 0),
            ClusterSpec(("a:1", "b:1"), 1),
        ),
        (
            environ({"workerpool0": ["a:2222"], "workerpool1": ["b:2222", "c:2222"]}, "workerpool1", 1, "CLUSTER_SPEC"),
            ClusterSpec(("a:2222", "b:2222", "c:2222"), 2),
        ),
        (environ({"worker": ["[::1]:2222"]}, "worker", 0), ClusterSpec(("[::1]:2222",), 0)),
    ],
)
def test_cluster_spec_orders_processes_with_the_chief_first(given: dict[str, str], expected: ClusterSpec) -> None:
    assert cluster_spec(given) == expected


def test_cluster_spec_host_is_that_of_the_chief() -> None:
    assert cluster_spec(environ(WORKERS, "worker", 1)).host == "10.0.0.1"
    assert cluster_spec(environ({"worker": ["[::1]:2222"]}, "worker", 0)).host == "::1"


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({}, r"needs TF_CONFIG or CLUSTER_SPEC in the environment.*Received neither"),
        ({"TF_CONFIG": "{"}, r"TF_CONFIG must be JSON with cluster and task"),
        ({"CLUSTER_SPEC": "[]"}, r"CLUSTER_SPEC must be JSON"),
        (environ(WORKERS, "worker", 2), r"the task worker 2 is not among the cluster's"),
        (environ({"worker": ["here"]}, "worker", 0), r"'here' is not host:port"),
    ],
)
def test_cluster_spec_raises_on_invalid_values(given: dict[str, str], match: str) -> None:
    with pytest.raises(OptionsError, match=match):
        cluster_spec(given)

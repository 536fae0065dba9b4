"""Checks of untrusted models before TensorFlow loads them, because a graph can read and write any file."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow.core.framework import graph_pb2, variable_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow.python.framework import op_def_registry

from efficientdet_pipeline.errors import DataError
from efficientdet_pipeline.inference.allowed_operations import CALCULATING, RESTORING, SAVING

_MAX_LISTED = 8
_SERVE, _RESTORE, _SAVE = "serve", "restore", "save"


def check_saved_model(folder: Path) -> None:
    """Checks that a SavedModel contains only operations that compute.

    Operations that restore variables, and the unused ones beside them that save
    variables, are allowed in exactly these roles.

    Raises:
      DataError: it has other operations, or a second description that TensorFlow may prefer.
      google.protobuf.message.DecodeError: it is damaged.
    """
    second = [name for name in ("saved_model.cpb", "saved_model.pbtxt") if (folder / name).exists()]
    if second:
        raise DataError(
            f"{folder} must describe its model once, in saved_model.pb. It also contains {second[0]}, which "
            "TensorFlow may "
            "load instead; remove that file, or add --trust_model if you trust the author of the model."
        )
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    _refuse(folder, {name for meta_graph in saved.meta_graphs for name in _forbidden(meta_graph)})


def check_graph(path: Path, graph_def: graph_pb2.GraphDef) -> None:
    """Checks that a frozen graph contains only operations that compute.

    Raises:
      DataError: it has other operations.
    """
    nodes = [*graph_def.node, *(node for function in graph_def.library.function for node in function.node_def)]
    functions = {function.signature.name: function for function in graph_def.library.function}
    _refuse(path, {node.op for node in nodes if not _is_allowed(node, {_SERVE}, functions)})


def _refuse(path: Path, names: set[str]) -> None:
    if names:
        few = ", ".join(sorted(names)[:_MAX_LISTED]) + (
            f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
        )
        raise DataError(
            f"{path} must be a model that only computes. Received one with operations that can read or write files, "
            f"run code, or are unknown: {few}. An untrusted model should not have them; if you trust the "
            "author, add --trust_model."
        )


def _forbidden(meta_graph: meta_graph_pb2.MetaGraphDef) -> Iterator[str]:
    """Yields the operations of a graph and its functions that are not allowed in their roles."""
    functions = {function.signature.name: function for function in meta_graph.graph_def.library.function}
    roles_of_nodes = _roles_of_nodes(meta_graph)
    roles = _roles_of_functions(meta_graph, functions, roles_of_nodes)
    for node in meta_graph.graph_def.node:
        if not _is_allowed(node, roles_of_nodes[node.name], functions):
            yield node.op
    for name, function in functions.items():
        for node in function.node_def:
            if not _is_allowed(node, roles[name], functions):
                yield node.op


def _is_allowed(node: Any, roles: set[str], functions: dict[str, Any]) -> bool:
    if node.op in CALCULATING:
        return True
    if node.op in RESTORING:
        return _SERVE not in roles
    if node.op in SAVING:
        return not roles & {_SERVE, _RESTORE}
    # A function may be called like an operation, unless an operation has the same name, which TensorFlow prefers.
    return node.op in functions and op_def_registry.get(node.op) is None


def _roles_of_nodes(meta_graph: meta_graph_pb2.MetaGraphDef) -> dict[str, set[str]]:
    """Returns the roles of each node of the graph; a node that is never run has none."""
    inputs = {node.name: [_node_of(each) for each in node.input] for node in meta_graph.graph_def.node}
    saver = meta_graph.saver_def
    ends = {_SAVE: [saver.save_tensor_name], _RESTORE: [saver.restore_op_name], _SERVE: _run_by_name(meta_graph)}
    roles: dict[str, set[str]] = {name: set() for name in inputs}
    for role, names in ends.items():
        for name in _ancestors(inputs, map(_node_of, names)):
            roles[name].add(role)
    return roles


def _run_by_name(meta_graph: meta_graph_pb2.MetaGraphDef) -> Iterator[str]:
    """Yields the tensors and nodes that loading and inference run: outputs, initial values, initial operations."""
    for signature in meta_graph.signature_def.values():
        for tensor in signature.outputs.values():
            sparse = tensor.coo_sparse
            yield from (tensor.name, sparse.values_tensor_name, sparse.indices_tensor_name)
            yield from (sparse.dense_shape_tensor_name, *(each.name for each in tensor.composite_tensor.components))
    for collection in meta_graph.collection_def.values():
        yield from collection.node_list.value
        for content in collection.bytes_list.value:
            with contextlib.suppress(DecodeError):
                variable = variable_pb2.VariableDef.FromString(content)
                yield from (variable.variable_name, variable.initial_value_name)
                yield from (variable.initializer_name, variable.snapshot_name)


def _ancestors(inputs: dict[str, list[str]], ends: Iterable[str]) -> set[str]:
    """Returns the given nodes and all nodes that run before them."""
    found: set[str] = set()
    waiting = list(ends)
    while waiting:
        name = waiting.pop()
        if name in inputs and name not in found:
            found.add(name)
            waiting.extend(inputs[name])
    return found


def _roles_of_functions(
    meta_graph: meta_graph_pb2.MetaGraphDef, functions: dict[str, Any], roles_of_nodes: dict[str, set[str]]
) -> dict[str, set[str]]:
    """Returns the roles of each function; a function that is never called has none."""
    roles: dict[str, set[str]] = {name: set() for name in functions}
    waiting: list[tuple[str, str]] = [(name, _SERVE) for name in _callable_by_name(meta_graph)]
    for name, function in functions.items():
        # TensorFlow may replace a function of an interface by another one.
        if {"api_implements", "implements"} & set(function.attr):
            waiting.append((name, _SERVE))
    for node in meta_graph.graph_def.node:
        waiting += [(name, role) for name in _called(node) for role in roles_of_nodes[node.name]]
    gradients = {each.function_name: each.gradient_func for each in meta_graph.graph_def.library.gradient}
    while waiting:
        name, role = waiting.pop()
        if name in functions and role not in roles[name]:
            roles[name].add(role)
            called = {each for node in functions[name].node_def for each in _called(node)}
            waiting += [(each, role) for each in {*called, gradients.get(name, "")}]
    return roles


def _callable_by_name(meta_graph: meta_graph_pb2.MetaGraphDef) -> set[str]:
    """Returns the functions that the objects of a SavedModel expose or call themselves, for example at loading."""
    objects = meta_graph.object_graph_def
    names = set(objects.concrete_functions)
    for node in objects.nodes:
        names.update(node.function.concrete_functions)
        names.add(node.bare_concrete_function.concrete_function_name)
    return names


def _called(node: Any) -> Iterator[str]:
    """Yields the functions that a node calls."""
    yield node.op
    waiting = list(node.attr.values())
    while waiting:
        value = waiting.pop()
        for each in (value.func, *value.list.func):
            if each.name:
                yield each.name
                waiting.extend(each.attr.values())


def _node_of(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]

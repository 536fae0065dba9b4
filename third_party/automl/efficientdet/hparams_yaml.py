"""Reader of hyper-parameter files: YAML as written by users and by automl's trainers."""

import re
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 1 << 20
_TUPLE = "tag:yaml.org,2002:python/tuple"
# YAML 1.1 reads 12:30 as 750 and 010 as 8, which no user intends.
_ODD_NUMBER = re.compile(r".*:.*|[-+]?0[0-9_]+", re.DOTALL)


class _Loader(yaml.SafeLoader):
    """Loads plain YAML and the tuples of automl's config.yaml; cannot execute code."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key, _ in node.value:
        if key.value in seen and isinstance(key, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} occurs twice", key.start_mark)
        seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


def _number(loader: _Loader, node: yaml.ScalarNode) -> Any:
    if _ODD_NUMBER.fullmatch(node.value.partition(".")[0]):
        return node.value
    is_whole = node.tag.endswith(":int")
    return loader.construct_yaml_int(node) if is_whole else loader.construct_yaml_float(node)


def _tuple(loader: _Loader, node: yaml.SequenceNode) -> tuple[Any, ...]:
    return tuple(loader.construct_sequence(node, deep=True))


_Loader.add_constructor(_TUPLE, _tuple)
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", _number)
_Loader.add_constructor("tag:yaml.org,2002:float", _number)


def read_hparams_yaml(path: Path) -> dict[str, Any]:
    """Returns the keys and values of a YAML file; values inside `label_map` are returned as text, its ids excepted.

    Raises:
      FileNotFoundError: the file does not exist.
      ValueError: the file is not YAML of `key: value` lines.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No hparams file {path}. Give the path of a .yaml file, or pairs such as a=1,b=2.")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path} must be a file of hyper-parameters of at most {MAX_BYTES >> 20} MiB. It is larger.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = yaml.load(text, _Loader)
        if isinstance(content, dict) and isinstance(content.get("label_map"), dict | list):
            content["label_map"] = _as_text(text, "label_map")
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{path} must be plain YAML, tuples allowed. It could not be read: {reason}.") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ValueError(f"{path} must hold key: value lines. Received {_kind(content)}.")
    return content


def _as_text(text: str, key: str) -> Any:
    """Returns the value of a key with all scalars as text: `no` is a class name, not False."""
    node: Any = yaml.compose(text, _Loader)
    value = next(value for name, value in node.value if name.value == key)
    return _text_of(value, set())


def _text_of(node: yaml.Node, above: set[int]) -> Any:
    # A few nested aliases expand exponentially, and label maps do not need them.
    if id(node) in above:
        raise ValueError("label_map must hold plain values; it uses aliases (*name)")
    if isinstance(node, yaml.ScalarNode):
        return node.value
    above.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        return [_text_of(item, above) for item in node.value]
    return {_plain(key): _text_of(value, above) for key, value in node.value}


def _plain(node: yaml.Node) -> int | str:
    if not isinstance(node, yaml.ScalarNode):
        raise ValueError("the keys of label_map must be plain values")
    return int(node.value) if re.fullmatch(r"0|[1-9]\d{0,8}", node.value, re.ASCII) else node.value


def _kind(content: Any) -> str:
    if isinstance(content, dict):
        return f"the key {next(key for key in content if not isinstance(key, str))!r}"
    return f"a {type(content).__name__}"

"""Label maps {class id: name} in all supported formats, and aliases of class names."""

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from absl import logging

from efficientdet_pipeline.errors import MissingError, OptionsError
from efficientdet_pipeline.options.known_label_maps import KNOWN_LABEL_MAPS
from tfrmod.errors import DatasetError
from tfrmod.text import clean_name, load_yaml, read_text

MAX_CLASS_ID = 100_000

_MAX_BYTES = 1 << 20
_FORMS = (
    "a YAML or JSON file of `id: name` lines, a TensorFlow .pbtxt, a text file with one name per line, names "
    "separated by "
    f"commas, or one of {', '.join(KNOWN_LABEL_MAPS)}"
)
_INTEGER = re.compile(r"[-+]?[0-9]+")
_BACKGROUND = re.compile(r"[_\W]*(background|bg)[_\W]*", re.IGNORECASE)
_NUMBERED = re.compile(r"([0-9]+)\s*[\s:;.,)=|-]\s*\S")
_FILE_NAME = re.compile(r".+\.[A-Za-z][A-Za-z0-9]{0,7}")
_PBTXT = re.compile(r"(\s|#.*)*item\s*:?\s*[{<]")
# Keys of Freebase and WordNet, which Open Images and ImageNet use instead of names.
_KEY = re.compile(r"/[mgt]/\w+|n[0-9]{8}")
# Without a space after the colon, YAML reads {1:cat} as one word. Quoted parts are not changed.
_TIGHT = re.compile(r"""('[^']*'|"[^"]*")|([{,]\s*[0-9]+\s*:)(?=\S)|(:)(?=[0-9]+\s*[,}])""")

Pairs = Iterable[tuple[object, object]]


LabelMapValue = str | Mapping[object, object] | Sequence[object] | None
"""Value of a label map in an option or a hyperparameter."""


def read_label_map(given: LabelMapValue, *, source: str) -> dict[int, str] | None:
    """Returns {class id: name}, ids from 1; None if no value is given.

    Args:
      given: a path, comma-separated names, a mapping as text (`{1:a,2:b}`), a name
        of google/automl, or the parsed form of one of these.
      source: source of the value, for messages: an option such as `--label_map`,
        or a file.

    Raises:
      OptionsError: it is not a label map, or is ambiguous.
      MissingError: the file does not exist.
    """
    if not given:
        return None
    try:
        pairs = _pairs_of_text(given, source) if isinstance(given, str) else _pairs(given)
        return _checked(pairs)
    except (DatasetError, ValueError, RecursionError) as error:
        raise OptionsError(
            f"{source} must be a label map: {_FORMS}; ids are integers from 1. Received {_shown(given)}: "
            f"{_reason(error)}.",
            option=_option(source),
        ) from None


def read_label_aliases(given: str, *, source: str = "--label_aliases") -> dict[str, str] | None:
    """Returns {variant: name} from a YAML or JSON file, or from comma-separated pairs `variant=name`.

    Raises:
      OptionsError: it contains no such pairs.
      MissingError: the file does not exist.
    """
    if not given:
        return None
    if not given.lower().endswith((".yaml", ".yml", ".json")):
        pairs = [pair.partition("=") for pair in given.split(",")]
        wrong = next(("".join(pair) for pair in pairs if not pair[0].strip() or not pair[2].strip()), None)
        if wrong is not None:
            raise OptionsError(
                f"label_aliases must be pairs variant=name separated by commas, or a YAML file of them. Received "
                f"{wrong!r} in {given!r}; try redcell=RBC,rbc=RBC.",
                option=_option(source),
            )
        return _aliases([(variant, name) for variant, _, name in pairs], given, source)
    path = _existing(given, source)
    try:
        text = _text(path, source)
        content = _parsed_json(text) if path.suffix.lower() == ".json" else load_yaml(text)
    except (DatasetError, ValueError, RecursionError) as error:
        raise _no_aliases(given, source, _reason(error)) from None
    if not isinstance(content, dict) or not content:
        raise _no_aliases(given, source, f"it contains {_kind(content)}")
    return _aliases(content.items(), given, source)


def _aliases(pairs: Pairs, given: str, source: str) -> dict[str, str]:
    aliases: dict[str, str] = {}
    try:
        for variant, name in pairs:
            key, value = clean_name(_scalar(variant)), clean_name(_scalar(name))
            if aliases.setdefault(key, value) != value:
                raise ValueError(f"{key!r} is an alias of {aliases[key]!r} and of {value!r}")
    except (DatasetError, ValueError) as error:
        raise _no_aliases(given, source, str(error)) from None
    return aliases


def _no_aliases(given: str, source: str, reason: str) -> OptionsError:
    return OptionsError(
        f"label_aliases must be pairs variant=name, or a YAML file of `variant: name` lines. Received {given!r}: "
        f"{reason}.",
        option=_option(source),
    )


def _pairs_of_text(given: str, source: str) -> Pairs:
    """Returns the pairs of a value given as text: a path, a name, or the map itself."""
    text = given.strip()
    if text in KNOWN_LABEL_MAPS:
        return KNOWN_LABEL_MAPS[text].items()
    if text[:1] in ("{", "["):
        return _pairs(load_yaml(_TIGHT.sub(lambda found: found[0] if found[1] else f"{found[0]} ", text)))
    suffix = os.path.splitext(text)[1].lower()
    is_path = suffix in _READERS or os.path.isfile(os.path.expanduser(text))
    if is_path or ("," not in text and _FILE_NAME.fullmatch(text)):
        path = _existing(text, source)
        if suffix not in _READERS:
            raise ValueError(f"files of type {suffix or '(no extension)'} are not supported as label maps")
        return _READERS[suffix](_text(path, source))
    names = text.split(",")
    if all(re.match(r"\s*[0-9]+\s*[:=]", name) for name in names):
        raise ValueError(f"its names start with numbers; to set ids, write {{{text.replace('=', ':')}}} in braces")
    return _counted(names)


def _pairs(content: object) -> Pairs:
    """Returns (id, name) pairs of a mapping in either direction, or of a list."""
    if isinstance(content, Mapping):
        content = content.get("label_map", content)
        if isinstance(content, str) and content in KNOWN_LABEL_MAPS:
            return KNOWN_LABEL_MAPS[content].items()
    if isinstance(content, Mapping):
        if isinstance(content.get("categories"), list):
            return _pairs(content["categories"])
        if isinstance(content.get("names"), Mapping | list):
            raise ValueError(
                "it is a data.yaml of YOLO, whose class ids start at 0; leave the label map out to use that of "
                "the data set"
            )
        return _directed({_scalar(key): _scalar(value) for key, value in content.items()})
    if isinstance(content, list | tuple):
        if content and all(isinstance(item, Mapping) and {"id", "name"} <= item.keys() for item in content):
            return [(item["id"], item["name"]) for item in content]
        return _counted([_scalar(item) for item in content])
    raise ValueError(f"it contains {_kind(content)}")


def _directed(content: Mapping[str, str]) -> Pairs:
    """Returns (id, name) pairs of a mapping `id: name` or `name: id`.

    Raises:
      ValueError: neither side consists of integers, or both do.
    """
    forward = list(content.items())
    backward = [(value, key) for key, value in forward]
    is_forward, is_backward = (all(_is_integer(number) for number, _ in side) for side in (forward, backward))
    if not is_forward and not is_backward:
        wrong = [pair for pair in forward if not _is_integer(pair[0]) and not _is_integer(pair[1])]
        if not wrong:
            raise ValueError("its ids are partly before and partly after the names")
        raise ValueError(f"neither {wrong[0][0]!r} nor {wrong[0][1]!r} is an id")
    if is_forward and is_backward and set(forward) != set(backward):
        usable = [all(int(number) >= 1 for number, _ in side) for side in (forward, backward)]
        if usable != [True, False]:
            raise ValueError(
                "both sides are numbers, and either may be the ids; write a list of entries such as {id: 1, name: '7'}"
            )
    return forward if is_forward else backward


def _counted(names: Sequence[str]) -> Pairs:
    """Returns names with ids from 1.

    Raises:
      ValueError: the first one is the background, which has the id 0.
    """
    if len(names) > 1 and _BACKGROUND.fullmatch(names[0]):
        raise ValueError(
            f"the first name is {names[0].strip()!r}; leave it out if it is not a class (the background has "
            "the id 0), otherwise set the ids, as in {1: background, 2: cat}"
        )
    return list(enumerate(names, start=1))


def _checked(pairs: Pairs) -> dict[int, str]:
    """Returns the label map of the pairs, after checking ids and names.

    Raises:
      DatasetError: a name is invalid.
      ValueError: an id is invalid, or an id or a name occurs twice.
    """
    label_map: dict[int, str] = {}
    ids: dict[str, int] = {}
    for written, written_name in pairs:
        text, name = _scalar(written).strip(), _cleaned(written, written_name)
        if not _is_integer(text) or not 0 <= int(text) <= MAX_CLASS_ID:
            raise ValueError(f"{text!r} is not an id for {name!r}; ids are integers from 1 to {MAX_CLASS_ID:,}")
        class_id = int(text)
        if class_id == 0 and _BACKGROUND.fullmatch(name):
            continue
        if class_id == 0:
            raise ValueError(f"it gives {name!r} the id 0, which is the background's; class ids start at 1")
        if class_id in label_map:
            raise ValueError(f"it gives the id {class_id} to {label_map[class_id]!r} and to {name!r}")
        if name in ids:
            raise ValueError(f"it gives {name!r} the ids {ids[name]} and {class_id}")
        label_map[class_id], ids[name] = name, class_id
    if not label_map:
        raise ValueError("it has no classes")
    return label_map


def _cleaned(class_id: object, name: object) -> str:
    try:
        return clean_name(_scalar(name))
    except DatasetError as error:
        raise ValueError(f"class {class_id}: {error}") from None


def _of_yaml(text: str) -> Pairs:
    return _pairs(load_yaml(text))


def _of_json(text: str) -> Pairs:
    return _pairs(_parsed_json(text))


def _of_text(text: str) -> Pairs:
    """Returns the names in a text file, one per line; also reads JSON and .pbtxt content in such a file."""
    if _PBTXT.match(text):
        return _of_pbtxt(text)
    if text.lstrip()[:1] in ("{", "["):
        return _of_json(text)
    lines = [line.strip() for line in re.split(r"\r\n|\r|\n", text.rstrip())]
    if "" in lines[:-1]:
        number = lines.index("") + 1
        raise ValueError(
            f"line {number} is blank, which makes the ids of the classes after it ambiguous; remove the line"
        )
    numbers = [_NUMBERED.match(line) for line in lines]
    values = [int(found[1]) for found in numbers if found and len(found[1]) < 7]
    if len(values) == len(lines) > 1 and values == list(range(values[0], values[0] + len(values))):
        raise ValueError(
            f"its lines start with numbers ({lines[0]!r}); save `id: name` lines as a .yaml file, or remove the numbers"
        )
    if lines[0].startswith("<") or lines[0].startswith("# label:"):
        raise ValueError(f"it starts with {lines[0][:40]!r}, which is not a class name")
    return _counted(lines)


def _of_pbtxt(text: str) -> Pairs:
    """Returns the pairs of a label map of TensorFlow's Object Detection API, `item { id: 1 name: 'cat' }`."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="label_map.proto", package="label_map", syntax="proto2")
    item = file.message_type.add(name="Item")
    item.field.add(name="name", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    item.field.add(name="id", number=2, type=field.TYPE_INT32, label=field.LABEL_OPTIONAL)
    item.field.add(name="display_name", number=3, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    items = file.message_type.add(name="Items").field
    items.add(name="item", number=1, type=field.TYPE_MESSAGE, label=field.LABEL_REPEATED, type_name=".label_map.Item")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    message = message_factory.GetMessageClass(pool.FindMessageTypeByName("label_map.Items"))()
    try:
        text_format.Parse(text, message, allow_unknown_field=True)
    except text_format.ParseError as error:
        raise ValueError(f"it is not a TensorFlow label map: {error}") from None
    pairs = []
    for each in message.item:
        has_key = not each.name or _KEY.fullmatch(each.name)
        name = each.display_name if each.display_name and has_key else each.name
        if not each.HasField("id"):
            raise ValueError(f"the item {name!r} has no id")
        pairs.append((each.id, name))
    return pairs


_READERS: dict[str, Callable[[str], Pairs]] = {
    **dict.fromkeys((".yaml", ".yml"), _of_yaml),
    **dict.fromkeys((".txt", ".names", ".labels"), _of_text),
    ".json": _of_json,
    ".pbtxt": _of_pbtxt,
}


def _parsed_json(text: str) -> object:
    """Returns the content of JSON with numbers as text, as in `load_yaml`."""

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        content = dict(pairs)
        if len(content) < len(pairs):
            keys = [key for key, _ in pairs]
            raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} occurs twice")
        return content

    return json.loads(text, object_pairs_hook=unique, parse_int=str, parse_float=str)


def _existing(given: str, source: str) -> Path:
    path = Path(os.path.expanduser(given.strip()))
    if os.path.isfile(path):
        return path
    option = _option(source)
    check = f"Check --{option}." if option else "Check the path."
    raise MissingError(f"{option or source} names a file that does not exist: {given!r}. {check}")


def _text(path: Path, source: str) -> str:
    decoded = read_text(path, max_bytes=_MAX_BYTES)
    if decoded.is_guessed:
        logging.warning(
            "%s: %s is not UTF-8; its class names were read as %s. Save it as UTF-8 to be sure.",
            *(source, path, decoded.encoding),
        )
    return decoded.text


def _scalar(value: object) -> str:
    """Returns a plain value as text; numbers and booleans of typed YAML are kept apart."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"{value!r} is {_kind(value)}, but an id or a name is expected; quote the name")


def _reason(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _is_integer(text: str) -> bool:
    return _INTEGER.fullmatch(text.strip()) is not None and len(text) < 20


def _kind(value: object) -> str:
    if value in ("", None):
        return "nothing"
    kinds = {"dict": "a mapping", "list": "a list", "str": "plain text", "bool": "a boolean", "float": "a float"}
    return kinds.get(type(value).__name__, f"a value of type {type(value).__name__}")


def _option(source: str) -> str | None:
    """Returns the name of the option in a source; None for a file or a part of --hparams."""
    name = source.removeprefix("--")
    return name if name != source and name.isidentifier() else None


def _shown(given: object) -> str:
    text = given if isinstance(given, str) else str(given)
    return repr(text if len(text) <= 200 else f"{text[:200]}…")

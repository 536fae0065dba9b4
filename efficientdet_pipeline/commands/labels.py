"""Classes as users write them down: label maps, and names that stand for others."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from efficientdet_pipeline.errors import MissingError, OptionsError

_FILES = (".yaml", ".yml", ".json")
_LISTS = (".txt", ".names")


def read_label_map(given: str) -> dict[int, str] | None:
    """Returns {id: name} from a YAML file, a text file of one name a line, or names separated by commas."""
    if not given:
        return None
    if not given.endswith(_FILES):
        is_list = Path(given).is_file()
        if not is_list and given.endswith(_LISTS):
            raise _missing("label_map", given)
        names = Path(given).read_text(encoding="utf-8-sig").splitlines() if is_list else given.split(",")
        return dict(enumerate((name.strip() for name in names if name.strip() or not is_list), start=1))
    content = _mapping(given, "label_map", "`id: name` lines, or names separated by commas")
    try:
        return {int(class_id): str(name) for class_id, name in content.get("label_map", content).items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise OptionsError(
            f"label_map must be a YAML file of `id: name` lines, or names separated by commas. Received {given!r}: "
            f"{error}.",
            option="label_map",
        ) from None


def read_label_aliases(given: str) -> dict[str, str] | None:
    """Returns {variant: name} from a YAML file, or from pairs `variant=name` separated by commas."""
    if not given:
        return None
    if given.endswith(_FILES):
        content = _mapping(given, "label_aliases", "`variant: name` lines")
        return {str(variant): str(name) for variant, name in content.items()}
    pairs = [pair.partition("=") for pair in given.split(",")]
    wrong = next(("".join(pair) for pair in pairs if not pair[0].strip() or not pair[2].strip()), None)
    if wrong is not None:
        raise OptionsError(
            f"label_aliases must be pairs variant=name separated by commas, or a YAML file of them. Received {wrong!r} "
            f"in {given!r}; try redcell=RBC,rbc=RBC.",
            option="label_aliases",
        )
    return {variant.strip(): name.strip() for variant, _, name in pairs}


def _mapping(path: str, option: str, expected: str) -> Mapping[Any, Any]:
    """Returns what a YAML file says, which must be a mapping."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise _missing(option, path) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise OptionsError(f"{option} must be a YAML file of {expected}. {path!r}: {reason}.", option=option) from None
    if not isinstance(content, dict):
        found = type(content).__name__
        raise OptionsError(
            f"{option} must be a YAML file of {expected}. Received {path!r}: it holds a {found}.", option=option
        )
    return content


def _missing(option: str, path: str) -> MissingError:
    return MissingError(f"{option} names a file that is not there: {path!r}. Check --{option}.")

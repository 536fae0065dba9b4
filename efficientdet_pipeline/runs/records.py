"""What a run writes down about itself: args.yaml and metadata.json."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tfrmod import atomic
from tfrmod.urls import redact_url, redact_urls


def write_args(path: Path, options: Any, source_of: Mapping[str, str]) -> None:
    """Writes every option with its value, URLs without secrets; a comment says where the value came from."""
    lines = ["# Every option of this run; without a remark it is the default."]
    for name, given in dataclasses.asdict(options).items():
        value = redact_urls(redact_url(given)) if isinstance(given, str) else given
        text = yaml.safe_dump({name: value}, default_flow_style=False, allow_unicode=True, width=10**6).strip()
        remark = " ".join(redact_urls(source_of.get(name, "")).split())
        lines.append(f"{text}  # {remark}" if remark else text)
    atomic.write_file(path, "\n".join(lines) + "\n")


def read_args(path: Path) -> dict[str, Any]:
    """Returns the options in an args.yaml; none where there is no such file."""
    if not path.is_file():
        return {}
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def update_json(path: Path, values: Mapping[str, Any]) -> None:
    """Adds the values to a JSON file's object, or begins it."""
    atomic.write_file(path, json.dumps({**read_json(path), **values}, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Returns a JSON file's object; an empty one where there is no such file, or it was cut short."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}

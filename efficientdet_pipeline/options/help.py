"""Text of --help and --helpfull, and the flag tables of the documentation, generated from the declarations."""

import platform
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path

from efficientdet_pipeline.options.schema import Declaration, Options, declarations

PACKAGE = "efficientdet-pipeline"
USAGE = """\
usage: python3 main.py [@FILE] [--config FILE] [--mode=MODE] [--flag=value …]

One command converts a zip of annotated images to TFRecord shards, trains an
EfficientDet, evaluates it with COCO metrics and exports it for production.

  python3 main.py @params.config --mode=traineval
  python3 main.py --url_dataset=photos.zip --model_name=efficientdet-d0 --num_epochs=50
  python3 main.py --mode=infer --run_name=NAME --input_image=photo.jpg --output_image_dir=out

Options are read from the command line, from @FILE (one --flag=value per line, #
for comments), and from environment variables of the same name, in this order of
precedence; then from a training service (Vertex AI, SageMaker), from --hparams,
and from the defaults below. Several --hparams are merged by key. `~` in a path
is the home folder. `--version` prints the version.
"""


def version_text() -> str:
    """Returns the output of `--version`: the version of this program and of its frameworks."""
    from importlib import metadata  # imported here to keep `--help` fast

    words = [f"{PACKAGE} {_version()}", f"Python {platform.python_version()}"]
    for name in ("tensorflow", "keras"):
        try:
            words.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            words.append(f"no {name}")
    return ", ".join(words)


def _version() -> str:
    from importlib import metadata

    project = checkout_project()
    if project is not None:
        return str(project["version"])
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        return "?"


def checkout_project() -> "dict[str, object] | None":
    """Returns the project table of pyproject.toml in a checkout; None for an installed package.

    An editable installation has the metadata of its installation date.
    """
    import tomllib

    path = Path(__file__).resolve().parents[2] / "pyproject.toml"
    if not path.is_file():
        return None
    project = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {})
    return project if project.get("name") == PACKAGE else None


def help_text(mode: str, options_class: type, summaries: Mapping[str, str]) -> str:
    """Returns the text of `--help` for one mode."""
    lines = [USAGE, "modes:"]
    lines += [
        f"  {name:<10} {summary}{' (default)' if not index else ''}"
        for index, (name, summary) in enumerate(summaries.items())
    ]
    lines += ["", f"flags of --mode={mode} (`--helpfull` shows those of every mode):"]
    lines += _groups(declarations(options_class).values())
    return "\n".join(lines)


def full_help_text(classes: Mapping[str, type], summaries: Mapping[str, str]) -> str:
    """Returns the text of `--helpfull`: every flag of every mode once."""
    lines = [USAGE, "modes:"]
    lines += [f"  {name:<10} {summary}" for name, summary in summaries.items()]
    lines += ["", "flags of all modes:"]
    lines += _groups(all_declarations(classes).values())
    return "\n".join(lines)


def all_declarations(classes: Mapping[str, type]) -> dict[str, Declaration]:
    """Returns every option of every mode once."""
    known: dict[str, Declaration] = {}
    for options_class in classes.values():
        for name, declared in declarations(options_class).items():
            known.setdefault(name, declared)
    return known


def flags_tables(options_class: type[Options]) -> str:
    """Returns Markdown tables of the flags of a mode with defaults and meanings, one per group."""
    lines: list[str] = []
    for group, members in _by_group(declarations(options_class).values()).items():
        lines += ["", f"### {group}", "", "| flag | default | meaning |", "|---|---|---|"]
        for each in members:
            names = ", ".join(f"`--{name}`" for name in (each.name, *each.aliases))
            default = f"`{_default(each)}`" if _default(each) else " "
            lines.append(f"| {names} | {default} | {_in_table(each.help)} |")
    return "\n".join(lines[1:])


def _in_table(text: str) -> str:
    """Returns a text escaped for a Markdown table: `<` outside of code, `|` everywhere."""
    parts = text.replace("|", "\\|").split("`")
    return "`".join(part if index % 2 else part.replace("<", "&lt;") for index, part in enumerate(parts))


def _by_group(declared: Iterable[Declaration]) -> dict[str, list[Declaration]]:
    by_group: dict[str, list[Declaration]] = {}
    for each in declared:
        by_group.setdefault(each.group, []).append(each)
    return by_group


def _groups(declared: Iterable[Declaration]) -> list[str]:
    lines = []
    for group, members in _by_group(declared).items():
        lines += ["", f"{group}:"]
        for each in members:
            default = _default(each)
            suffix = f" [{default}]" if default else ""
            names = ", ".join(f"--{spelled}" for spelled in (each.name, *each.aliases))
            text = textwrap.wrap(each.help + suffix, 88, break_long_words=False, break_on_hyphens=False)
            lines.append(f"  {names}")
            lines += [f"      {line}" for line in text]
    return lines


def _default(declared: Declaration) -> str:
    if declared.default is None or declared.default == "":
        return ""
    return str(declared.default).lower() if declared.kind is bool else str(declared.default)

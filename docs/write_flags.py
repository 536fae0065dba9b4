"""Renews the generated parts of the documentation: flags of each mode, the list of modes, exit codes, navigation.

A generated part stands between `<!-- NAME: begin -->` and `<!-- NAME: end -->` (in mkdocs.yml between `# NAME: begin`
and `# NAME: end`); everything around it is written by hand and stays. A mode without a page gets one.
"""

import re
import sys
from pathlib import Path

from efficientdet_pipeline.commands import MODES
from efficientdet_pipeline.errors import EXIT_CODE_MEANING
from efficientdet_pipeline.options.help import flags_tables

ROOT = Path(__file__).resolve().parents[1]
NEW_PAGE = """# --mode={mode}

{summary}.

## Flags

<!-- flags: begin -->
<!-- flags: end -->
"""


def renewed(text: str, parts: dict[str, str], where: str) -> str:
    """Returns a text with its generated parts replaced; `where` names its file in errors."""
    for name, content in parts.items():
        place = re.compile(rf"((?:<!--|#) {name}: begin(?: -->)?\n).*?([ ]*(?:<!--|#) {name}: end)", re.DOTALL)
        text, count = place.subn(lambda match, content=content: f"{match[1]}{content}\n{match[2]}", text)
        if count != 1:
            raise ValueError(f"{where} must have one part {name!r} between its begin and end. Received {count}.")
    return text


def generated_parts() -> dict[Path, dict[str, str]]:
    """Returns the generated parts by name, for each file that has some."""
    codes = ["| code | meaning |", "|---|---|"]
    codes += [f"| {int(code)} | {meaning} |" for code, meaning in EXIT_CODE_MEANING.items()]
    rows = ["| mode | what it does |", "|---|---|"]
    rows += [f"| [{name}]({name}.md) | {mode.summary} |" for name, mode in MODES.items()]
    parts = {
        Path("docs/exit-codes.md"): {"exit codes": "\n".join(codes)},
        Path("docs/modes/index.md"): {"modes": "\n".join(rows)},
        Path("mkdocs.yml"): {"modes": "\n".join(f"    - {name}: modes/{name}.md" for name in MODES)},
    }
    first_with: dict[str, str] = {}
    for name, mode in MODES.items():
        first = first_with.setdefault(mode.options, name)
        same = f"The flags are those of [--mode={first}]({first}.md#flags)."
        flags = flags_tables(mode.options_class()) if first == name else same
        parts[Path(f"docs/modes/{name}.md")] = {"flags": f"\n{flags}\n"}
    return parts


def outdated() -> dict[Path, str]:
    """Returns the files whose generated parts the code knows otherwise now, each with its new text."""
    found: dict[Path, str] = {}
    for name, parts in generated_parts().items():
        path, mode = ROOT / name, MODES.get(name.stem)
        is_new = mode is not None and not path.is_file()
        before = "" if is_new else path.read_text(encoding="utf-8")
        page = NEW_PAGE.format(mode=name.stem, summary=mode.summary.capitalize()) if mode and is_new else before
        after = renewed(page, parts, str(name))
        if after != before:
            found[path] = after
    return found


def main() -> int:
    """Renews the files; with --check only names those that are out of date, and returns 1 if there are some."""
    files = outdated()
    if "--check" in sys.argv:
        print(
            "".join(f"out of date: {path.relative_to(ROOT)}; run python docs/write_flags.py\n" for path in files),
            end="",
        )
        return int(bool(files))
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

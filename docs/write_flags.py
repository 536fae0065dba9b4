"""Renews the parts of README.md that the code knows better: the table of flags and of exit codes."""

import re
import sys
from pathlib import Path

from efficientdet_pipeline.commands import MODES
from efficientdet_pipeline.errors import EXIT_CODE_MEANING
from efficientdet_pipeline.options.help import flags_table

README = Path(__file__).resolve().parents[1] / "README.md"


def generated_parts() -> dict[str, str]:
    """Returns the generated text by the name of its place in the README."""
    classes = {name: mode.options_class() for name, mode in MODES.items()}
    codes = ["| code | meaning |", "|---|---|"]
    codes += [f"| {int(code)} | {meaning} |" for code, meaning in EXIT_CODE_MEANING.items()]
    return {"flags": flags_table(classes), "exit codes": "\n".join(codes)}


def renewed(text: str) -> str:
    """Returns the README with its generated parts as the code has them now."""
    for name, content in generated_parts().items():
        place = re.compile(rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)", re.DOTALL)
        text, count = place.subn(lambda match, content=content: f"{match[1]}{content}\n{match[2]}", text)
        if count != 1:
            raise ValueError(f"README.md must have one place for {name!r} between its begin and end. Received {count}.")
    return text


def main() -> int:
    """Renews the README; with --check only says whether it is up to date."""
    before = README.read_text(encoding="utf-8")
    after = renewed(before)
    if "--check" in sys.argv:
        return int(before != after)
    README.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

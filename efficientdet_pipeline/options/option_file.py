"""Option files: one --flag=value per line, # for comments."""

import difflib
import os
import re

from efficientdet_pipeline.errors import MissingError, OptionsError

_QUOTED_OR_COMMENT = re.compile(r"""([=\s](["']).*?\2(?=\s|$))|(?:^|\s)#.*""")


def read_lines(path: str, outer: tuple[str, ...]) -> list[str]:
    """Returns the lines of an option file.

    Args:
      outer: the files that include it by --flagfile, the outermost first.

    Raises:
      MissingError: the file does not exist.
      OptionsError: it includes itself, or is not UTF-8 text.
    """
    if path in outer:
        raise OptionsError(f"The option file {path!r} includes itself: {' > '.join([*outer, path])}.")
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        raise MissingError(_no_options_file(path, outer)) from None
    except (UnicodeDecodeError, OSError) as error:
        raise OptionsError(
            f"An option file must be UTF-8 text with one --flag=value per line. Received {path!r}: {error}."
        ) from None


def strip_comment(line: str) -> str:
    """Returns the line without a comment: `#` at its start or after a space, outside quotes."""
    return _QUOTED_OR_COMMENT.sub(lambda found: found[1] or "", line.strip()).rstrip()


def normalize_token(token: str) -> str:
    """Returns a line's `--flag = "value"` or `--flag value` as --flag=value."""
    flag, separator, value = re.split(r"(\s*=\s*|\s+|$)", token, maxsplit=1)
    is_quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
    return flag + ("=" if separator else "") + (value[1:-1] if is_quoted else value)


def _no_options_file(path: str, outer: tuple[str, ...]) -> str:
    folder = os.path.dirname(path) or "."
    names = os.listdir(folder) if os.path.isdir(folder) else []
    near = difflib.get_close_matches(os.path.basename(path), names, n=1, cutoff=0.6)
    advice = f"Did you mean @{os.path.join(os.path.dirname(path), near[0])}?" if near else "Check the path of the file."
    where = f"--flagfile in {outer[-1]}" if outer else f"@{path} on the command line"
    return f"The option file {path!r} does not exist ({where}). {advice}"

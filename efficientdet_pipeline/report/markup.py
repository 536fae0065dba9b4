"""HTML elements from untrusted text: all escaping of names is here."""

import html
import math
import re
from collections.abc import Iterable, Sequence

from efficientdet_pipeline.evaluation.average_precision import UNDEFINED

NO_VALUE = "–"


def text(value: object) -> str:
    """Returns a value as HTML text or as a double-quoted attribute; control characters become U+FFFD."""
    # File names may hold bytes that are not text, and HTML has no notation for control characters.
    plain = str(value).encode("utf-8", "replace").decode("utf-8")
    return html.escape("".join(sign if sign.isprintable() or sign == " " else "\ufffd" for sign in plain))


def tag(name: str, content: str = "", **attributes: object) -> str:
    """Returns an element with HTML content.

    Attributes are escaped; `class_` and `data_x` mean class and data-x, True an attribute without a value,
    None and False no attribute.
    """
    listed = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{text(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    return f"<{name}{listed}>{content}</{name}>"


def number(value: float | None, digits: int = 3) -> str:
    """Returns a metric as text; a dash if undefined."""
    if value is None or not math.isfinite(value) or value == UNDEFINED:
        return NO_VALUE
    return f"{value:.{digits}f}"


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    caption: str,
    numeric: Iterable[int] = (),
    is_sortable: bool = False,
) -> str:
    """Returns a table that scrolls horizontally if it is wider than the screen.

    Args:
      head: text of each column.
      rows: HTML of each cell; the first cell of a row is its header.
      caption: description for screen readers.
      numeric: columns aligned to the right.
      is_sortable: whether the script makes it sortable.
    """
    right = set(numeric)
    heads = "".join(
        tag("th", text(name), scope="col", class_="number" if place in right else None)
        for place, name in enumerate(head)
    )
    body = "".join(
        tag(
            "tr",
            "".join(
                tag("th", cell, scope="row")
                if place == 0
                else tag("td", cell, class_="number" if place in right else None)
                for place, cell in enumerate(row)
            ),
        )
        for row in rows
    )
    content = tag("caption", text(caption), class_="hidden") + tag("thead", tag("tr", heads)) + tag("tbody", body)
    return tag(
        "div",
        tag("table", content, class_="sortable" if is_sortable else None),
        class_="scroll",
        role="region",
        aria_label=f"Table: {caption}",
        tabindex="0",
    )


def section(identifier: str, title: str, *content: str) -> str:
    """Returns a section of the page; empty without content."""
    inner = "".join(content)
    if not inner:
        return ""
    heading = tag("h2", text(title), id=f"{identifier}-title")
    return tag("section", heading + inner, id=identifier, aria_labelledby=f"{identifier}-title")


def cards(shown: Iterable[tuple[str, str, str]]) -> str:
    """Returns the numbers at the top of a page: (name, value, note) of each."""
    return tag(
        "dl",
        "".join(
            tag("div", tag("dt", text(name)) + tag("dd", tag("strong", text(value)) + tag("span", text(note))))
            for name, value, note in shown
        ),
        class_="cards",
    )


def paragraph(*sentences: str, class_: str | None = None) -> str:
    """Returns a paragraph of plain text; flags in it, such as --image_size, are not broken across lines."""
    flags = re.sub(r"(?<![\w-])--[a-z]\w*", lambda found: tag("code", found[0]), text(" ".join(sentences)))
    return tag("p", flags, class_=class_)

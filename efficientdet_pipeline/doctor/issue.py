"""Issues of a data set, and their ranking."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple


class Severity(IntEnum):
    """Effect of an issue on a training."""

    NOTE = 0
    """Worth knowing; nothing is lost."""
    WARNING = 1
    """The detector will be worse, or its metrics better than they should be."""
    ERROR = 2
    """A training would fail, or learn nothing useful."""


class IssueType(NamedTuple):
    """Properties of all issues of one code."""

    severity: Severity
    harm: int
    """1 to 10: effect on a training if everything is affected."""
    title: str
    """What is counted, in the singular: it follows "12 ×"."""
    why: str
    remedy: str
    """A flag, a command, or what to do by hand."""
    fatal_share: float = 2.0
    """Share from which a warning is an error; 2 means never."""


@dataclass(frozen=True, kw_only=True)
class Issue:
    """One issue of a data set."""

    code: str
    severity: Severity
    title: str
    count: int
    of: int = 0
    """Total of what is counted; 0 where a share means nothing."""
    unit: str = ""
    """Unit of `of`: boxes, classes, images; empty where a share means nothing."""
    files: tuple[str, ...] = ()
    """All affected files, the worst first, each with the cause in brackets."""
    why: str = ""
    remedy: str = ""
    detail: str = ""
    """The figures of this data set, in a sentence."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """The same figures, machine-readable."""
    harm: float = 0.0
    """Harm of the issue type times the affected share."""


def rank_issues(issues: Iterable[Issue | None]) -> list[Issue]:
    """Returns the issues, the most harmful first: by severity, then by harm times the affected share."""
    found = [each for each in issues if each is not None]
    return sorted(found, key=lambda each: (-each.severity, -each.harm, each.code))


def worst_severity(issues: Sequence[Issue]) -> Severity:
    """Returns the severity of the worst issue; a note if there is none."""
    return max((each.severity for each in issues), default=Severity.NOTE)

"""What the doctor says: a finding, and which of several comes first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple


class Severity(IntEnum):
    """How a finding bears on a training."""

    NOTE = 0
    """Worth knowing; nothing is lost."""
    WARNING = 1
    """The detector will be worse for it, or its numbers better than it is."""
    ERROR = 2
    """A training would fail, or learn nothing of use."""


class IssueType(NamedTuple):
    """What all findings of one code have in common."""

    severity: Severity
    harm: int
    """1 to 10: how much a training suffers where everything is like this."""
    title: str
    """What is counted, in the singular: it stands behind "12 ×"."""
    why: str
    remedy: str
    """A flag, a command, or what to do by hand."""
    fatal_share: float = 2.0
    """From this share of all on, a warning is an error; 2 means never."""


@dataclass(frozen=True, kw_only=True)
class Issue:
    """One line of the page."""

    code: str
    severity: Severity
    title: str
    count: int
    of: int = 0
    """How many there are in all of what is counted; 0 where that says nothing."""
    unit: str = ""
    """What `of` counts: boxes, classes, images; empty where a share would say nothing."""
    files: tuple[str, ...] = ()
    """All of them, the worst first, each with what is the matter there in brackets."""
    why: str = ""
    remedy: str = ""
    detail: str = ""
    """The numbers of this data set, in a sentence."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """The same numbers for machines."""
    harm: float = 0.0
    """Harm of the kind times the share that is struck."""


def rank_issues(issues: Iterable[Issue | None]) -> list[Issue]:
    """Returns the findings, the most harmful first: by severity, then by harm times the share that is struck."""
    found = [each for each in issues if each is not None]
    return sorted(found, key=lambda each: (-each.severity, -each.harm, each.code))


def worst_severity(issues: Sequence[Issue]) -> Severity:
    """Returns the severity of the worst finding; a note where there is none."""
    return max((each.severity for each in issues), default=Severity.NOTE)

"""Define what a check reports."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "note", "warning", "problem"]
"""``note``: information; ``warning``: works, but not for long or not well; ``problem``: does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    name: str
    """What was checked, such as ``swap``; the same in every version of this program."""
    status: Status
    what: str
    """What was found."""
    fix: str = ""
    """What to do about it; never empty for a warning or a problem."""


def count(findings: Iterable[Finding], status: Status) -> int:
    """Return the number of `findings` with this status."""
    return sum(finding.status == status for finding in findings)

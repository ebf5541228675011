"""What a check has to say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "note", "warning", "problem"]
"""``note``: good to know; ``warning``: works, but not for long or not well; ``problem``: does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    """What was looked at, ``swap``: the same in every version of this program."""
    status: Status
    what: str
    """What was found, in words."""
    fix: str = ""
    """What to do about it; every warning and every problem has one."""


def count(findings: Iterable[Finding], status: Status) -> int:
    """How many of `findings` are of that status."""
    return sum(finding.status == status for finding in findings)

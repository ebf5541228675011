"""Define the messages between a program and its worker processes: one line of JSON each."""

from __future__ import annotations

import msgspec


class RunReply(msgspec.Struct, frozen=True, kw_only=True):
    """One timed run."""

    run_s: float
    scores: tuple[float, ...] = ()
    """``(outputs,)``; empty if they were not asked for."""


class ErrorReply(msgspec.Struct, frozen=True, kw_only=True):
    """The worker cannot continue."""

    failed: str

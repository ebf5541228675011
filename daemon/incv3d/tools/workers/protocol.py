"""Define the messages between a program and its worker processes: one line of JSON each."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

Message = TypeVar("Message")


class RunReply(msgspec.Struct, frozen=True, kw_only=True):
    """One timed run."""

    run_s: float
    scores: tuple[float, ...] = ()
    """``(outputs,)``; empty if they were not asked for."""


class ErrorReply(msgspec.Struct, frozen=True, kw_only=True):
    """The worker cannot continue."""

    failed: str


def encode(message: msgspec.Struct) -> str:
    """Return `message` as one line; paths become strings."""
    return msgspec.json.encode(message, enc_hook=str).decode()


def decode(line: str | bytes, kind: type[Message]) -> Message:
    """Return the message that :func:`encode` wrote.

    :raises msgspec.ValidationError: if it is another one.
    """

    def path(kind: type, value: Any) -> Any:
        return Path(value) if kind is Path else value

    return msgspec.json.decode(line, type=kind, dec_hook=path)

"""Show how far a lesson is: on a terminal in one line, else a line a step, or JSON for programs."""

from __future__ import annotations

import sys
import time
from types import TracebackType

import click

BETWEEN_S = 0.2
"""Between two reports of the same step."""


class Progress:
    """Prints progress to standard error; as JSON, to standard output, a line each.

    Ctrl-C is answered with what is kept.
    """

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._is_terminal = not as_json and sys.stderr.isatty()
        self._step = ""
        self._next = 0.0

    def say(self, line: str) -> None:
        """Say something that takes a while."""
        if self._as_json:
            self._write({"step": line, "done": 0, "total": 0})
        else:
            self._end_line()
            click.echo(line, err=True)

    def count(self, step: str, done: int, total: int) -> None:
        """Say how much of a step is done."""
        now = time.monotonic()
        if step == self._step and now < self._next and done < total:
            return
        is_new = step != self._step
        self._next = now + BETWEEN_S
        if self._as_json:
            self._write({"step": step, "done": done, "total": total})
        elif self._is_terminal:
            click.echo(f"\r\x1b[K{step}: {done} of {total}", err=True, nl=False)
        elif is_new:
            click.echo(f"{step} ...", err=True)
        self._step = step

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_line()
        if kind is KeyboardInterrupt:
            click.echo(
                "stopped: nothing has changed; pictures looked at so far need no second look",
                err=True,
            )

    def _end_line(self) -> None:
        if self._is_terminal and self._step:
            click.echo("\r\x1b[K", err=True, nl=False)
        self._step = ""

    def _write(self, told: dict[str, object]) -> None:
        import msgspec

        click.echo(msgspec.json.encode(told))
        sys.stdout.flush()

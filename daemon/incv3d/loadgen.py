"""Sends pictures to a daemon, several at a time or at a rate, and counts what comes back."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from incv3d import wire
from incv3d.client import Client


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture to send, and what to call it."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one shot."""

    name: str
    answer: wire.Answer | None
    """None: no answer came in time."""
    round_trip_ms: float

    @property
    def kind(self) -> str:
        """``ok``, the code of the refusal, or ``no_answer``."""
        if self.answer is None:
            return "no_answer"
        return self.answer.code.value if self.answer.code else "ok"


def shoot(
    client: Client, shots: Iterable[Shot], concurrency: int, rate: float | None, ttl_ms: float | None
) -> Iterator[Outcome]:
    """Send every shot and yield every outcome, in the order of the answers.

    :param concurrency: shots under way at once.
    :param rate: shots a second at most; None: as fast as the answers come.
    """
    waiting: dict[int, tuple[str, float]] = {}
    due = time.monotonic()
    pending = iter(shots)
    shot = next(pending, None)
    while shot or waiting:
        now = time.monotonic()
        if shot and len(waiting) < concurrency and now >= due:
            waiting[client.send(shot.data, ttl_ms=ttl_ms)] = (shot.name, now)
            due = max(due + 1 / rate, now) if rate else now
            shot = next(pending, None)
            continue
        until = min((sent + client.timeout_s for _, sent in waiting.values()), default=due)
        if shot and len(waiting) < concurrency:
            until = min(until, due)
        answer = client.receive(max(0.0, until - now))
        now = time.monotonic()
        if answer and isinstance(answer.id, int) and answer.id in waiting:
            name, sent = waiting.pop(answer.id)
            yield Outcome(name, answer, (now - sent) * 1000)
        for number in [n for n, (_, sent) in waiting.items() if now - sent >= client.timeout_s]:
            name, sent = waiting.pop(number)
            yield Outcome(name, None, (now - sent) * 1000)

"""What becomes of a result: counted, answered, published, shown, each by those who are there for it."""

from __future__ import annotations

import time
from typing import Protocol

from incv3d.events.monitor import EventMonitor
from incv3d.frames import Frame, Refusal, Result
from incv3d.latency.rolling import FrameCounter
from incv3d.protocol.events import EventMessage


class ResultConsumer(Protocol):
    """Where results and events leave the daemon. Both methods are called by any thread, and never wait."""

    def deliver(self, result: Result) -> None:
        """A frame has its result: answer it, if it came this way, and pass it on."""

    def announce(self, announcement: EventMessage, frame: Frame | None) -> None:
        """A label has entered or left what a source sees; `frame` is the one that decided it."""


class ResultDispatcher:
    """Hands every result, once, to all who count, answer, publish or follow them; callable from any thread.

    :param tally: counts what becomes of every frame.
    """

    def __init__(self, tally: FrameCounter) -> None:
        self._tallies = [tally]
        self._outlets: list[ResultConsumer] = []
        self.announcer: EventMonitor | None = None
        """Finds the events in the results; the daemon may replace it at any time."""

    def add(self, outlet: ResultConsumer) -> None:
        """Deliver to `outlet` too, after those that were added before it."""
        self._outlets.append(outlet)

    def count_by(self, tally: FrameCounter) -> None:
        """Have `tally` count, too."""
        self._tallies.append(tally)

    def deliver(self, result: Result) -> None:
        """Pass a result on."""
        if result.is_own:
            pass
        elif result.refusal:
            self.count(result.refusal)
        else:
            now = time.monotonic()
            for tally in self._tallies:
                tally.record(now, result.timings)
        for outlet in self._outlets:
            outlet.deliver(result)
        announcer = self.announcer
        if announcer and not result.is_own:
            announcer.observe(result)

    def count(self, outcome: Refusal | str) -> None:
        """A frame that has no result was turned away, or passed over."""
        now = time.monotonic()
        for tally in self._tallies:
            tally.count(now, outcome)

    def announce(self, announcement: EventMessage, frame: Frame | None) -> None:
        """Pass an event on."""
        for outlet in self._outlets:
            outlet.announce(announcement, frame)

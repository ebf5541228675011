"""Send each result to the statistics, the transports and the event monitor."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from incv3d.events.monitor import EventMonitor
from incv3d.frames import Frame, Refusal, Result
from incv3d.latency.rolling import FrameCounter
from incv3d.protocol.events import EventMessage


class ResultConsumer(Protocol):
    """Where results and events leave the daemon. Any thread may call its methods, which do not wait."""

    def deliver(self, result: Result) -> bool:
        """Send `result` to those who asked for it; return False if earlier ones could not be sent."""

    def publish_event(self, event: EventMessage, frame: Frame | None) -> None:
        """Publish that a label has entered or left; `frame` decided it."""


Completed = Callable[[Result, bool], None]
"""Called with a result that was delivered, and whether all consumers accepted it."""


class ResultDispatcher:
    """Hand every result, once, to all that count, answer, publish or follow results. Thread-safe.

    A result has left the daemon when every consumer has accepted it: this is the proof that the daemon works.

    :param counter: counts the outcome of every frame.
    """

    def __init__(self, counter: FrameCounter) -> None:
        self._counters = [counter]
        self._consumers: list[ResultConsumer] = []
        self._observers: list[Callable[[Result], None]] = []
        self._on_completed: list[Completed] = []
        self.event_monitor: EventMonitor | None = None
        """Finds the events in the results; the daemon may replace it at any time."""

    def add_consumer(self, consumer: ResultConsumer) -> None:
        """Deliver to `consumer`, after those that were added before it."""
        self._consumers.append(consumer)

    def add_observer(self, observer: Callable[[Result], None]) -> None:
        """Call `observer` with every result, after the consumers."""
        self._observers.append(observer)

    def add_counter(self, counter: FrameCounter) -> None:
        """Let `counter` count every frame, too."""
        self._counters.append(counter)

    def on_completed(self, call: Completed) -> None:
        """Call `call` when a result was delivered."""
        self._on_completed.append(call)

    def deliver(self, result: Result) -> None:
        """Hand on a result."""
        if result.is_own:
            pass
        elif result.refusal:
            self.count(result.refusal)
        else:
            now = time.monotonic()
            for counter in self._counters:
                counter.record(now, result.timings)
        is_accepted = True
        for consumer in self._consumers:
            is_accepted = consumer.deliver(result) and is_accepted
        for observer in self._observers:
            observer(result)
        for call in self._on_completed:
            call(result, is_accepted)
        event_monitor = self.event_monitor
        if event_monitor and not result.is_own:
            event_monitor.observe(result)

    def count(self, outcome: Refusal | str) -> None:
        """Count a frame without a result: rejected, dropped or skipped."""
        now = time.monotonic()
        for counter in self._counters:
            counter.count(now, outcome)

    def publish_event(self, event: EventMessage, frame: Frame | None) -> None:
        """Hand on an event."""
        for consumer in self._consumers:
            consumer.publish_event(event, frame)

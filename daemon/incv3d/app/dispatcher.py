"""Send each result to the statistics, the transports and the event monitor."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from incv3d.app.event_listeners import EventListeners
from incv3d.events.monitor import EventMonitor
from incv3d.frames import Frame, Refusal, Result
from incv3d.latency.rolling import SKIPPED, FrameCounter
from incv3d.protocol.events import EventMessage, Reason
from incv3d.transports.base import Transport

Completed = Callable[[Result, bool], None]
"""Called with a result that was delivered, and whether all transports accepted it."""


class ResultDispatcher:
    """Hand every result, once, to all that count, answer, publish or follow results. Thread-safe.

    A result counts as completed when every transport has accepted it: this is the proof that the daemon
    works. A transport that hangs accepts results for about a second more.

    :param counter: counts the outcome of every frame.
    :param listeners: act on events.
    """

    def __init__(self, counter: FrameCounter, listeners: EventListeners) -> None:
        self._counters = [counter]
        self._transports: list[Transport] = []
        self._on_completed: list[Completed] = []
        self.event_listeners = listeners
        self.event_monitor: EventMonitor | None = None
        """Finds the events in the results; the daemon may replace it at any time."""

    def add_transport(self, transport: Transport) -> None:
        """Deliver to `transport`, after those that were added before it."""
        self._transports.append(transport)
        if transport.frame_counter:
            self._counters.append(transport.frame_counter)

    def on_completed(self, *calls: Completed) -> None:
        """Call each of `calls` when a result was delivered, after those that were added before."""
        self._on_completed += calls

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
        for transport in self._transports:
            is_accepted = transport.deliver(result) and is_accepted
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

    def skip(self, frame: Frame) -> None:
        """Count a frame that was skipped as unchanged, and hand it on."""
        self.count(SKIPPED)
        for transport in self._transports:
            transport.skipped(frame)

    def look(self, now: float, states: Mapping[str, str]) -> None:
        """Let the labels of silent sources leave, and the listeners do what is due. Call this regularly."""
        if event_monitor := self.event_monitor:
            event_monitor.look()
        self.event_listeners.look(now, states)

    def end_source(self, name: str, reason: Reason = "ended") -> None:
        """Let the labels of a source leave: no more frames of it are expected."""
        if event_monitor := self.event_monitor:
            event_monitor.end(name, reason)

    def end_events(self) -> None:
        """Let all labels leave, because the daemon stops."""
        if event_monitor := self.event_monitor:
            event_monitor.stop()

    def close(self, deadline: float) -> None:
        """Wait until the last images and events are kept, until `deadline` (monotonic)."""
        if event_monitor := self.event_monitor:
            event_monitor.close(max(1.0, deadline - time.monotonic()))
        self.event_listeners.close(deadline)

    def publish_event(self, event: EventMessage, frame: Frame | None) -> None:
        """Hand on an event."""
        for transport in self._transports:
            transport.publish_event(event, frame)
        self.event_listeners.take_event(event, frame)

"""Bounded queue of outgoing messages, for when the broker is away or slow."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish."""

    topic: str
    payload: bytes | Callable[[], bytes]
    """The bytes, or a function that creates them on sending, so that dropped messages cost nothing. An empty
    payload is not sent."""
    qos: int = 1
    retain: bool = False
    is_latest: bool = False
    """Whether only the newest message of the topic matters."""
    correlation: bytes | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    on_done: Callable[[], None] | None = None
    """Called once, when the broker has the message or when it is dropped."""

    def settle(self) -> None:
        """Report to the publisher that the message was sent or dropped."""
        if self.on_done:
            self.on_done()


class Outbox:
    """Keep the newest message of each topic with a state, and the others in order. Thread-safe.

    :param limit: the most messages in order; beyond it the oldest is dropped.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._latest: dict[str, Outgoing] = {}
        self._queue: deque[Outgoing] = deque()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._latest) + len(self._queue)

    def put(self, message: Outgoing) -> None:
        """Add a message, and settle the one that it displaces."""
        with self._lock:
            if message.is_latest:
                displaced = self._latest.get(message.topic)
                self._latest[message.topic] = message
            else:
                self._queue.append(message)
                displaced = self._queue.popleft() if len(self._queue) > self._limit else None
                self.dropped += displaced is not None
        if displaced:
            displaced.settle()

    def take(self) -> Outgoing | None:
        """Return the next message; those in order come first, because a client may wait for them."""
        with self._lock:
            if self._queue:
                return self._queue.popleft()
            if self._latest:
                return self._latest.pop(next(iter(self._latest)))
        return None

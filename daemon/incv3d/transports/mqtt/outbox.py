"""What waits to be published while the broker is away or slow: bounded."""

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
    """The bytes, or what makes them when they leave: those that never do cost nothing, and no bytes are
    not sent."""
    qos: int = 1
    retain: bool = False
    is_latest: bool = False
    """Only the newest of its topic matters."""
    correlation: bytes | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    on_done: Callable[[], None] | None = None
    """Called once, when the broker has it or when it is dropped."""

    def settle(self) -> None:
        """Tell who published it that nothing more happens to it."""
        if self.on_done:
            self.on_done()


class Outbox:
    """The newest message of each topic that has a state, and the others in order. Threads may share one.

    :param limit: messages that wait in order; beyond it the oldest is dropped.
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
        """Add a message; what it displaces is settled."""
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
        """The next message; those in order come first, as somebody may wait for them."""
        with self._lock:
            if self._queue:
                return self._queue.popleft()
            if self._latest:
                return self._latest.pop(next(iter(self._latest)))
        return None

"""The waiting room between those who bring frames and the one Session."""

from __future__ import annotations

import threading
from collections import deque

from incv3d.frames import Frame, Refusal


class Mailbox:
    """Bounded in frames and in bytes: requests wait in line, a camera's frame replaces its older one.

    A request is either admitted or refused at once. A camera has one slot: the newest frame wins, so that
    nobody is handed a stale one. When both wait, they are taken in turn: neither starves the other.

    :param limit: requests that may wait.
    :param limit_bytes: bytes that waiting requests may hold together; a single larger one is admitted
        when nothing else waits.
    """

    def __init__(self, limit: int, limit_bytes: int) -> None:
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._requests: deque[Frame] = deque()
        self._requests_bytes = 0
        self._slots: dict[str, Frame] = {}
        self._camera_turn = False
        self._closed = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        """Requests that wait."""
        return len(self._requests)

    def offer(self, frame: Frame) -> Refusal | None:
        """Put a request in line; returns why it was refused, or None."""
        size_bytes = len(frame.data)
        with self._changed:
            if self._closed:
                return Refusal.SHUTTING_DOWN
            too_heavy = self._requests and self._requests_bytes + size_bytes > self._limit_bytes
            if len(self._requests) >= self._limit or too_heavy:
                return Refusal.BUSY
            self._requests.append(frame)
            self._requests_bytes += size_bytes
            self._changed.notify()
        return None

    def replace(self, frame: Frame) -> Frame | None:
        """Put a camera's newest frame in its slot; returns the one that it replaced, now dropped."""
        with self._changed:
            if self._closed:
                return frame
            dropped = self._slots.get(frame.source)
            self._slots[frame.source] = frame
            self._changed.notify()
        return dropped

    def take(self) -> Frame | None:
        """Wait for the next frame; None once the mailbox is closed."""
        with self._changed:
            while not (self._closed or self._requests or self._slots):
                self._changed.wait()
            if self._closed:
                return None
            if self._slots and (self._camera_turn or not self._requests):
                self._camera_turn = False
                return self._slots.pop(next(iter(self._slots)))
            self._camera_turn = True
            frame = self._requests.popleft()
            self._requests_bytes -= len(frame.data)
            return frame

    def close(self) -> list[Frame]:
        """Admit nothing more; returns the requests that waited and will not be taken."""
        with self._changed:
            self._closed = True
            waiting = list(self._requests)
            self._requests.clear()
            self._requests_bytes = 0
            self._slots.clear()
            self._changed.notify_all()
        return waiting

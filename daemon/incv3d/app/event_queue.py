"""Events and signals handled by the main loop."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Iterator
from types import FrameType
from typing import Generic, TypeVar

Event = TypeVar("Event")


class EventQueue(Generic[Event]):
    """Events in the order in which they came. Any thread may put events, one thread gets them.

    That thread waits for a socket, not for a lock: the kernel may deliver a signal to any thread, and a main
    thread that waits for a lock would not wake up. The interpreter writes to the same socket when a signal
    comes, whichever thread was interrupted. The bytes only wake the thread: a socket that is full of earlier
    ones takes no more, so the signals themselves are noted by their handler.
    """

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._signals: deque[int] = deque()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def put(self, event: Event) -> None:
        """Add an event."""
        self._events.append(event)
        # A socket full of earlier bytes wakes the reader anyway.
        with contextlib.suppress(BlockingIOError):
            self._writer.send(b"\0")

    def get(self, timeout_s: float) -> Event | signal.Signals | None:
        """Return the next signal or event; None if there is none within `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while True:
            if self._signals:
                return signal.Signals(self._signals.popleft())
            if self._events:
                return self._events.popleft()
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return None
            if select.select([self._reader], [], [], left_s)[0]:
                self._reader.recv(4096)

    @contextlib.contextmanager
    def signals(self, *numbers: signal.Signals) -> Iterator[None]:
        """Return these signals from :meth:`get` during the block. Only the main thread may call this."""
        previous = {number: signal.signal(number, self._note) for number in numbers}
        descriptor = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(descriptor)
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)

    def close(self) -> None:
        """Close the socket."""
        self._reader.close()
        self._writer.close()

"""Limit how many threads run the Session at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class RunSlots:
    """Limits concurrent runs, first come first served.

    A run that must be exclusive waits for all others to finish, and later runs wait behind it.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self._running: list[int] = []  # the limit of each

    @contextmanager
    def acquire(self, most: int) -> Iterator[None]:
        """Wait for a slot and hold it during the block.

        :param most: maximum number of concurrent runs, including this one; 1: exclusive.
        """
        me = object()
        with self._changed:
            self._waiting.append(me)
            self._changed.wait_for(lambda: self._waiting[0] is me and self._fits(most))
            self._waiting.popleft()
            self._running.append(most)
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._running.remove(most)
                self._changed.notify_all()

    def _fits(self, most: int) -> bool:
        return len(self._running) < min((most, *self._running))

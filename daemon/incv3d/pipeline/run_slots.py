"""Who may run beside whom: the threads that run the Session take turns."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class RunSlots:
    """Lets as many run at once as each of them bears beside it, in the order in which they came.

    Who wants to be alone waits until nobody runs, and nobody who came later goes before.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._line: deque[object] = deque()
        self._running: list[int] = []  # what each bears

    @contextmanager
    def among(self, most: int) -> Iterator[None]:
        """Wait for a turn, and have it for the time of the block.

        :param most: how many may run meanwhile, this one included; 1: it is to be alone.
        """
        me = object()
        with self._changed:
            self._line.append(me)
            self._changed.wait_for(lambda: self._line[0] is me and self._bear(most))
            self._line.popleft()
            self._running.append(most)
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._running.remove(most)
                self._changed.notify_all()

    def _bear(self, most: int) -> bool:
        return len(self._running) < min((most, *self._running))

"""Pace the `busy` answers of a fleet's daemon, so that a flood of frames leaves the cores to the Session.

ZeroMQ and HTTP hold the answer of a client that comes back before its ``retry_ms`` is over, see
:mod:`..retry_times`. Here a sender should come back at once, because the broker gives its frame to the next
daemon, which may have room. So each daemon limits only how many frames it rejects: a few at once, then a
constant rate, and one more for each result. Meanwhile the broker sends no further frames with QoS 1 (Receive
Maximum), and a sender that waits for its answer sends none.
"""

from __future__ import annotations

from collections import deque

ROOM_TO_REFUSE = 16
"""Frames that the broker may send beyond those that are held, so that they can be answered ``busy``, and the
most that are answered so at once."""
ANSWERS_PER_S = 50.0
"""Each costs about a millisecond of a core, on a Raspberry Pi 3 ten."""
MOST_WAITING = 1024
"""Answers that wait; further ones are sent at once. Only frames with QoS 0 can be so many."""
MOST_WAITING_BYTES = 2**20
"""The same for the memory of what is kept of their frames."""


class BusyAnswers:
    """The requests that wait for their `busy` answer. Not thread-safe; all times are monotonic."""

    def __init__(self) -> None:
        self._credit = float(ROOM_TO_REFUSE)  # answers that may be sent now
        self._updated = 0.0
        self._results = 0
        self._waiting: deque[tuple[int, int]] = deque()  # the request_id and the size of each
        self._waiting_bytes = 0

    def __len__(self) -> int:
        """Return the number of answers that wait."""
        return len(self._waiting)

    def put(self, request_id: int, size_bytes: int) -> bool:
        """Let the answer of a request wait for its turn; return False if it must be sent at once.

        :param size_bytes: the memory of what is kept of the request.
        """
        if len(self._waiting) >= MOST_WAITING or self._waiting_bytes + size_bytes > MOST_WAITING_BYTES:
            return False
        self._waiting.append((request_id, size_bytes))
        self._waiting_bytes += size_bytes
        return True

    def take(self, now: float, results: int) -> list[int]:
        """Return the requests whose answers are due.

        :param results: how many results there have been so far.
        """
        earned = (now - self._updated) * ANSWERS_PER_S + results - self._results
        self._credit = min(float(ROOM_TO_REFUSE), self._credit + earned)
        self._updated, self._results = now, results
        due = []
        while self._waiting and self._credit >= 1:
            request_id, size_bytes = self._waiting.popleft()
            self._waiting_bytes -= size_bytes
            self._credit -= 1
            due.append(request_id)
        return due

    def wait_s(self) -> float | None:
        """Return the time from the last :meth:`take` until the next answer is due; None: none waits."""
        return max(0.0, 1 - self._credit) / ANSWERS_PER_S if self._waiting else None

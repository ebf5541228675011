"""Monitor the daemon's health, and decide when it must exit: threads, memory, file descriptors."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence

from incv3d.app.memory_guard import MemoryGuard
from incv3d.app.stall_detector import StallDetector
from incv3d.config.schema import Config
from incv3d.errors import Incv3dError
from incv3d.machine import has_descriptors, limit_of, memory_limit_mb, private_memory_mb, trim_heap
from incv3d.threads import Activity

LOG = logging.getLogger(__name__)
EXIT_FAILED = 1
"""The exit status after a thread has died."""
EXIT_SETTING = 2
"""The exit status if the daemon cannot start for a reason that only a person can remove."""
EXIT_STALLED = os.EX_SOFTWARE
"""The exit status if a thread hangs: 70."""
EXIT_MEMORY = os.EX_TEMPFAIL
"""The exit status if the memory has grown over its limit: 75."""
TRIM_INTERVAL_S = 30.0
"""How often freed memory goes back to the system: images of different sizes leave holes in the heap."""


class Health:
    """The main thread checks; any thread may ask for the result.

    :param failures_in_a_row: returns how many runs of the Session failed since the last good one.
    """

    def __init__(self, config: Config, failures_in_a_row: Callable[[], int]) -> None:
        self._activities: Sequence[Activity] = ()
        self._failures_in_a_row = failures_in_a_row
        self._checked = time.monotonic()
        self._next_trim = self._checked + TRIM_INTERVAL_S
        self.problem = ""
        """What is wrong now; empty: nothing."""
        self._run_limit_s = config.session.run_limit_s
        self._stalls = StallDetector((), self._run_limit_s)
        self._memory = MemoryGuard(_memory_limit_mb(config), private_memory_mb)

    def watch(self, activities: Sequence[Activity]) -> None:
        """Check these threads, from now on."""
        self._activities = activities
        self._stalls = StallDetector(activities, self._run_limit_s)

    def reconfigure(self, config: Config) -> None:
        """Apply the limits of a new configuration."""
        if config.session.run_limit_s != self._run_limit_s:
            self._run_limit_s = config.session.run_limit_s
            self.watch(self._activities)
        self._memory.limit_mb = _memory_limit_mb(config)

    @property
    def interval_s(self) -> float:
        """Return how often to check."""
        return self._stalls.interval_s

    @property
    def silent_s(self) -> float:
        """Return the seconds since the last check."""
        return time.monotonic() - self._checked

    def check(self, is_ready: bool) -> int:
        """Check now; return the exit status if the daemon must end, else 0.

        :param is_ready: whether the model is loaded; loading may take more memory than running.
        """
        self._checked = time.monotonic()
        if stall := self._stalls.check():
            self.problem = f"{stall.activity.what} takes longer than {self._run_limit_s:g} s"
            LOG.error(
                "%s (session.run_limit_s): the %s thread hangs; ending with status %d",
                self.problem,
                stall.activity.name,
                EXIT_STALLED,
            )
            return EXIT_STALLED
        if is_ready and self._has_grown():
            return EXIT_MEMORY
        self._check_descriptors()
        self._trim_heap()
        return 0

    def _trim_heap(self) -> None:
        if self._checked >= self._next_trim:
            self._next_trim = self._checked + TRIM_INTERVAL_S
            trim_heap()

    def report_death(self, thread: str, error: BaseException) -> None:
        """Log that a thread has ended with an exception."""
        known = isinstance(error, Incv3dError)
        self.problem = str(error) if known else f"the {thread} thread died: {error!r}"
        LOG.error("%s", self.problem, exc_info=None if known else error)

    def __str__(self) -> str:
        """Return the health in one line: ``ok``, or the problem."""
        if self.problem:
            return self.problem
        if warning := self._stalls.warning:
            return f"{warning.activity.what} has taken {warning.for_s:.1f} s so far"
        failures = self._failures_in_a_row()
        return f"the Session failed {failures} times in a row" if failures else "ok"

    def _has_grown(self) -> bool:
        verdict = self._memory.check()
        if verdict.warning:
            LOG.warning("%s", verdict.warning)
        if verdict.over_limit:
            LOG.error(
                "its memory has grown to %.0f MB, over its limit of %.0f MB (daemon.memory_limit_mb): "
                "answering the requests in flight, then ending with status %d, to be restarted",
                self._memory.private_mb,
                self._memory.limit_mb,
                EXIT_MEMORY,
            )
        return verdict.over_limit

    def _check_descriptors(self) -> None:
        if has_descriptors():
            self.problem = ""
        elif not self.problem:
            self.problem = "all file descriptors are in use: no client can connect (LimitNOFILE, ulimit -n)"
            LOG.error("%s", self.problem)


def _memory_limit_mb(config: Config) -> float | None:
    return limit_of(config.daemon.memory_limit_mb, memory_limit_mb())

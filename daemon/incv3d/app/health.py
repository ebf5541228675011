"""What ails the daemon, and whether it has to end for it: threads that hang or died, memory, descriptors."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence

from incv3d.app.memory_guard import MemoryGuard
from incv3d.app.stall_detector import StallDetector
from incv3d.config.schema import Config
from incv3d.errors import Incv3dError
from incv3d.machine import has_descriptors, limit_of, memory_limit_mb, private_memory_mb
from incv3d.threads import Activity

LOG = logging.getLogger(__name__)
FAILED = 1
"""The exit status when a thread has died."""
HUNG = os.EX_SOFTWARE
"""The exit status when a thread hangs: 70."""
MISTAKEN = 2
"""The exit status when it cannot start for a reason that only a person can remove."""
GROWN = os.EX_TEMPFAIL
"""The exit status when the memory has grown over its limit: 75."""


class Health:
    """Looked after by the main thread, told to those who ask.

    :param works: what each thread is at.
    :param failures_in_a_row: runs of the Session that failed since the last good one.
    """

    def __init__(
        self, config: Config, works: Sequence[Activity], failures_in_a_row: Callable[[], int]
    ) -> None:
        self._works = works
        self._failures_in_a_row = failures_in_a_row
        self._looked = time.monotonic()
        self.ailment = ""
        """What is wrong, for as long as something is."""
        self._run_limit_s = config.session.run_limit_s
        self._stalls = StallDetector(works, self._run_limit_s)
        self._memory = MemoryGuard(_memory_limit_mb(config), private_memory_mb)

    def adjust(self, config: Config) -> None:
        """Judge by the limits of another configuration from now on."""
        if config.session.run_limit_s != self._run_limit_s:
            self._run_limit_s = config.session.run_limit_s
            self._stalls = StallDetector(self._works, self._run_limit_s)
        self._memory.limit_mb = _memory_limit_mb(config)

    @property
    def interval_s(self) -> float:
        """How often to look."""
        return self._stalls.interval_s

    @property
    def silent_s(self) -> float:
        """For how long the main thread has not looked."""
        return time.monotonic() - self._looked

    def look(self, is_ready: bool) -> int:
        """Look now; returns the exit status when the daemon has to end, else 0.

        :param is_ready: whether the model is loaded, for which more memory may be needed than for running it.
        """
        self._looked = time.monotonic()
        if stall := self._stalls.look():
            self.ailment = f"{stall.work.what} takes longer than {self._run_limit_s:g} s"
            LOG.error(
                "%s (session.run_limit_s): the %s thread hangs; ending with status %d",
                self.ailment,
                stall.work.name,
                HUNG,
            )
            return HUNG
        if is_ready and self._has_grown():
            return GROWN
        self._look_at_descriptors()
        return 0

    def report_death(self, thread: str, error: BaseException) -> None:
        """A thread cannot go on."""
        known = isinstance(error, Incv3dError)
        self.ailment = str(error) if known else f"the {thread} thread died: {error!r}"
        LOG.error("%s", self.ailment, exc_info=None if known else error)

    def __str__(self) -> str:
        """How the daemon is, in one line: ``ok``, or what is wrong."""
        if self.ailment:
            return self.ailment
        if worry := self._stalls.worry:
            return f"{worry.work.what} has taken {worry.for_s:.1f} s so far"
        failures = self._failures_in_a_row()
        return f"the Session failed {failures} times in a row" if failures else "ok"

    def _has_grown(self) -> bool:
        verdict = self._memory.look()
        if verdict.warning:
            LOG.warning("%s", verdict.warning)
        if verdict.over_limit:
            LOG.error(
                "its memory has grown to %.0f MB, over its limit of %.0f MB (daemon.memory_limit_mb): "
                "answering what is in flight, then ending with status %d, to be started anew",
                self._memory.private_mb,
                self._memory.limit_mb,
                GROWN,
            )
        return verdict.over_limit

    def _look_at_descriptors(self) -> None:
        if has_descriptors():
            self.ailment = ""
        elif not self.ailment:
            self.ailment = "all file descriptors are in use: nobody can connect (LimitNOFILE, ulimit -n)"
            LOG.error("%s", self.ailment)


def _memory_limit_mb(config: Config) -> float | None:
    return limit_of(config.daemon.memory_limit_mb, memory_limit_mb())

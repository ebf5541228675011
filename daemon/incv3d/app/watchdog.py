"""Feed systemd's watchdog with completed results: a daemon that classifies nothing any more is not alive.

A timer would go on in a process whose Session hangs, or whose threads wait for each other. So each sign of
life stands for a result that all transports have accepted since the last one. If nobody asks for results, a
probe goes through the pipeline like a camera's frame.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from incv3d.app.systemd import SystemdNotifier
from incv3d.frames import Result
from incv3d.pipeline.probe import Probe

SIGNS = 3
"""Signs of life in the time that systemd waits for one."""
PROBE_INTERVAL_S = 1.0
"""How often to check for the result of a probe."""


class Watchdog:
    """Check for completed results, in the main thread, and report them to systemd.

    :param probe: sends the test image through the pipeline.
    """

    def __init__(
        self, notifier: SystemdNotifier, probe: Probe, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._notifier = notifier
        self._probe = probe
        self._clock = clock
        self._completed = self._fed = 0
        self._probing = False
        self._next = 0.0

    def complete(self, result: Result, is_accepted: bool = True) -> None:
        """Note that a result was delivered. Any thread may call this.

        :param is_accepted: whether every transport has taken it.
        """
        if result.ok and is_accepted:
            self._completed += 1
        if result.is_own:
            self._probing = False

    def check(self) -> None:
        """Tell systemd if results were completed since the last time, or else send a probe."""
        interval_s = self._notifier.watchdog_s
        now = self._clock()
        if interval_s is None or now < self._next:
            return
        completed = self._completed
        if completed != self._fed:
            self._fed = completed
            self._next = now + interval_s / SIGNS
            self._notifier.watchdog()
            return
        self._next = now + min(PROBE_INTERVAL_S, interval_s / SIGNS)
        if not self._probing:
            self._probing = True
            self._probe.send(now)

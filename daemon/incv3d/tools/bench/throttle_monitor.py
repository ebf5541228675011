"""Detect whether the machine was slowed down during a measurement."""

from __future__ import annotations

import time
from collections.abc import Callable

from incv3d.machine import Readings, read_machine

SLOWED_DOWN_NOW = 0xF
"""The Pi firmware's bits 0 to 3: under-voltage, frequency capped, throttled, soft temperature limit."""
HOT_C = 80.0
"""Above this a Raspberry Pi throttles (raspberrypi.com, documentation, frequency management)."""
LOOK_AGAIN_S = 0.5


class ThrottleMonitor:
    """Reads the machine's temperature and throttling state, at most twice per second.

    :param hot_c: temperature from which the machine counts as hot.
    """

    def __init__(
        self,
        hot_c: float = HOT_C,
        read: Callable[[], Readings] = read_machine,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hot_c = hot_c
        self._read = read
        self._clock = clock
        self._looked = float("-inf")
        self._slowed = False

    def slowed_down(self) -> bool:
        """Return whether the machine is throttled, under-voltage, or hot."""
        if self._clock() - self._looked >= LOOK_AGAIN_S:
            found = self._read()
            throttled = bool((found.throttled or 0) & SLOWED_DOWN_NOW)
            self._slowed = throttled or (found.temp_c is not None and found.temp_c >= self._hot_c)
            self._looked = self._clock()
        return self._slowed

"""Feeds systemd's watchdog with completed work: a daemon that classifies nothing any more is not alive.

A timer would go on in a process whose Session hangs, or whose threads wait for each other. So each sign of
life stands for a result that has left through the door since the last one. Where nobody asks for results, a
probe does: a picture of the watchdog's own, which takes the way of a camera's frames.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from incv3d.app.systemd import SystemdNotifier
from incv3d.frames import OWN, Frame, Result
from incv3d.pipeline.frame_queue import FrameQueue

SIGNS = 3
"""Of life, in the time that systemd waits for one."""
LOOK_S = 1.0
"""When to look again for the result of a probe."""


class Watchdog:
    """Looks, from the main thread, for completed work, and passes it on to systemd.

    :param picture: makes the encoded picture of a probe; called at the first one.
    """

    def __init__(
        self,
        notifier: SystemdNotifier,
        frame_queue: FrameQueue,
        picture: Callable[[], bytes],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._notifier = notifier
        self._frame_queue = frame_queue
        self._make_picture = picture
        self._picture = b""
        self._clock = clock
        self._completed = self._fed = 0
        self._probing = False
        self._next = 0.0

    def complete(self, result: Result) -> None:
        """A result has left; called by the thread that sends them."""
        self._completed += result.ok
        if result.is_own:
            self._probing = False

    def look(self) -> None:
        """Now and then: tell systemd of work that was completed, or ask for some."""
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
        self._next = now + min(LOOK_S, interval_s / SIGNS)
        if not self._probing:
            self._probing = True
            self._picture = self._picture or self._make_picture()
            self._frame_queue.replace(Frame(OWN, self._picture, None, received=now, captured=now, top_k=1))

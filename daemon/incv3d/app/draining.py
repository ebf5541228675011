"""Wait until the pipeline has answered everything that it took, when the daemon ends."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable

from incv3d.app.daemon_events import DaemonEvent, QueueDrained, ThreadDied
from incv3d.app.event_queue import EventQueue

LOG = logging.getLogger(__name__)


def wait_until_drained(
    events: EventQueue[DaemonEvent], deadline: float, on_death: Callable[[str, BaseException], None]
) -> bool:
    """Return whether every frame has its result by the `deadline` (monotonic).

    :param on_death: called with the thread's name and the error if a thread dies, which ends the wait.
    """
    while True:
        match events.get(deadline - time.monotonic()):
            case None:
                return False
            case QueueDrained():
                return True
            case ThreadDied(thread, error):
                on_death(thread, error)
                return False
            case signal.SIGINT:
                LOG.info("SIGINT again: leaving at once")
                return False

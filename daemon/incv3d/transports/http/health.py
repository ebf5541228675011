"""``/healthz`` answers if the daemon is alive, ``/readyz`` if it is warm and frames get through."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

from aiohttp import web

from incv3d.frames import Result
from incv3d.pipeline.probe import Probe
from incv3d.transports.base import DaemonStatus

LONGEST_SILENCE_S = 10.0
"""The main loop runs every second; if it has not for this time, it hangs."""
FRESH_S = 5.0
"""A result that is not older shows that frames get through."""
PROBE_TIMEOUT_S = 10.0
"""The timeout of ``/readyz`` for a result. On a Raspberry Pi 3, a run takes up to 2 s."""


class Readiness:
    """Whether frames get through: shown by the latest result, or, if that is old, by a probe.

    :param probe: sends the test image through the pipeline.
    """

    def __init__(self, probe: Probe, clock: Callable[[], float] = time.monotonic) -> None:
        self._probe = probe
        self._clock = clock
        self._changed = threading.Condition()
        self._completed = float("-inf")
        self._probed = float("-inf")

    def complete(self, result: Result) -> None:
        """Note that `result` has left the daemon. Any thread may call this."""
        if result.ok:
            with self._changed:
                self._completed = self._clock()
                self._changed.notify_all()

    def check(self, timeout_s: float = PROBE_TIMEOUT_S) -> bool:
        """Return whether a frame got through a moment ago, or does so within `timeout_s`."""
        asked = self._clock()
        with self._changed:
            if asked - self._completed <= FRESH_S:
                return True
            if asked - self._probed > timeout_s or self._completed > self._probed:
                self._probed = asked
                self._probe.send(asked)
            return self._changed.wait_for(lambda: self._completed >= asked, timeout_s)


def health_routes(status: Callable[[], DaemonStatus], readiness: Readiness) -> list[web.AbstractRouteDef]:
    """Return both routes. They answer 200, or 503 with the reason, in one line.

    :param status: returns the status of the daemon.
    """

    async def healthz(request: web.Request) -> web.Response:
        now = status()
        # While it stops, the main thread waits for requests in flight, no longer than daemon.grace_s.
        if now.state != "stopping" and now.silent_s > LONGEST_SILENCE_S:
            return _answer(f"the main loop has not run for {now.silent_s:.0f} s")
        return _answer("")

    async def readyz(request: web.Request) -> web.Response:
        now = status()
        if now.state != "ready":
            return _answer(f"the daemon is {now.state}")
        if not await asyncio.to_thread(readiness.check):
            return _answer(f"no frame got through within {PROBE_TIMEOUT_S:g} s")
        return _answer("")

    return [web.get("/healthz", healthz), web.get("/readyz", readyz)]


def _answer(reason: str) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    return web.Response(status=503 if reason else 200, text=f"{reason or 'ok'}\n", headers=headers)

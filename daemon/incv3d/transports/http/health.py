"""``/healthz``: is the daemon alive; ``/readyz``: is it warm, and does it answer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

from aiohttp import web

from incv3d.frames import OWN, Frame, Result
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.transports.daemon_status import DaemonStatus

LOOKS_WITHIN_S = 10.0
"""The main thread looks every second; one that has not for so long is at fault."""
FRESH_S = 5.0
"""A result that is no older shows that results flow."""
PATIENCE_S = 10.0
"""How long ``/readyz`` waits for one; on a Raspberry Pi 3 a run takes up to 2 s, and one may be under way."""


class Readiness:
    """Whether frames get through: by the latest result, or, where there is none, by a probe's.

    A probe is a picture of the daemon's own that takes the way of a camera's frames; its result is neither
    published nor counted.

    :param picture: makes the encoded picture of a probe; called at the first one.
    """

    def __init__(
        self,
        frame_queue: FrameQueue,
        picture: Callable[[], bytes],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._frame_queue = frame_queue
        self._make_picture = picture
        self._picture = b""
        self._clock = clock
        self._changed = threading.Condition()
        self._completed = float("-inf")
        self._probed = float("-inf")

    def complete(self, result: Result) -> None:
        """A result has left; called by the thread that sends them."""
        if result.ok:
            with self._changed:
                self._completed = self._clock()
                self._changed.notify_all()

    def check(self, patience_s: float = PATIENCE_S) -> bool:
        """Whether a frame got through a moment ago, or does so before `patience_s` is over. It may wait."""
        asked = self._clock()
        with self._changed:
            if asked - self._completed <= FRESH_S:
                return True
            if asked - self._probed > patience_s or self._completed > self._probed:
                self._probe(asked)
            return self._changed.wait_for(lambda: self._completed >= asked, patience_s)

    def _probe(self, now: float) -> None:
        self._probed = now
        self._picture = self._picture or self._make_picture()
        self._frame_queue.replace(Frame(OWN, self._picture, None, received=now, captured=now, top_k=1))


def health_routes(look: Callable[[], DaemonStatus], readiness: Readiness) -> list[web.AbstractRouteDef]:
    """Both routes. They answer 200, or 503 with the reason, in one line.

    :param look: how the daemon stands.
    """

    async def healthz(request: web.Request) -> web.Response:
        now = look()
        # While it stops, the main thread waits for what is in flight, and no longer than daemon.grace_s.
        if now.state != "stopping" and now.silent_s > LOOKS_WITHIN_S:
            return _verdict(f"the main thread has not looked for {now.silent_s:.0f} s")
        return _verdict("")

    async def readyz(request: web.Request) -> web.Response:
        now = look()
        if now.state != "ready":
            return _verdict(f"the daemon is {now.state}")
        if not await asyncio.to_thread(readiness.check):
            return _verdict(f"no frame got through within {PATIENCE_S:g} s")
        return _verdict("")

    return [web.get("/healthz", healthz), web.get("/readyz", readyz)]


def _verdict(reason: str) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    return web.Response(status=503 if reason else 200, text=f"{reason or 'ok'}\n", headers=headers)

"""``/stream/NAME.mjpg`` and ``/snapshot/NAME.jpg``: what a source or a region sees, for other programs.

Frames are shown that were classified, or skipped as unchanged: each is at most as old as the Session is slow.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from aiohttp import web

from incv3d.frames import Frame, Result
from incv3d.images.encode import encode_classified
from incv3d.images.preprocess import ImageError
from incv3d.pipeline.latest_frames import LatestFrames, NumberedFrame

LOG = logging.getLogger(__name__)
MOST_VIEWERS = 8
"""Streams and waiting snapshots at once; each takes a connection."""
LOOK_EVERY_S = 0.05
"""How often a viewer looks for a new frame; nothing looks without viewers."""
CHECK_EVERY_S = 1.0
"""How often a stream checks that its source still works."""
SNAPSHOT_S = 10.0
"""How long a request waits for the next frame."""
WRITE_TIMEOUT_S = 10.0
"""A viewer that receives nothing for this time is disconnected."""
SEND_BUFFER_BYTES = 128 * 1024
"""What the kernel may hold for a viewer: a slow one must not get frames that have waited there."""
BOUNDARY = "frame"
NEVER_STORED = {"Cache-Control": "no-store"}
STREAM = {**NEVER_STORED, "Content-Type": f"multipart/x-mixed-replace; boundary={BOUNDARY}"}


Send = Callable[[web.Request, str], Awaitable[web.StreamResponse]]
"""Answers a request for the source or region of this name."""


class StreamRoutes:
    """Shows sources. A frame is encoded once for all viewers, in a thread of its own.

    :param results: returns the source of the results that show each source and region, by its name.
    :param states: returns the state of each source, by its name.
    :param max_pixels: the largest image to decode.
    """

    def __init__(
        self,
        results: Callable[[], Mapping[str, str]],
        states: Callable[[], Mapping[str, str]],
        max_pixels: int,
    ) -> None:
        self._latest = LatestFrames()
        self._results = results
        self._states = states
        self._max_pixels = max_pixels
        self._viewers = 0
        self._is_closed = False
        self._encoder = ThreadPoolExecutor(1, "streams")
        self._encoded: dict[str, tuple[int, asyncio.Future[bytes]]] = {}
        """By name: the number of the frame that was encoded last, and its JPEG."""

    def routes(self) -> list[web.AbstractRouteDef]:
        """Return both routes."""
        return [
            # aiohttp would send the frames as the body of an answer to HEAD, which has none.
            web.get(r"/stream/{name}.mjpg", self._stream, allow_head=False),
            web.get(r"/snapshot/{name}.jpg", self._snapshot, allow_head=False),
        ]

    def show(self, result: Result) -> None:
        """Show the frame of a result to those who watch its source. Any thread may call this."""
        self._latest.offer(result)

    def show_unchanged(self, frame: Frame) -> None:
        """Show a frame that was not classified, because nothing changed. Any thread may call this."""
        self._latest.offer(Result(frame.source, frame=frame))

    def reconfigure(self, max_pixels: int) -> None:
        """Apply a new configuration."""
        self._max_pixels = max_pixels

    def close(self) -> None:
        """End all streams."""
        self._is_closed = True
        self._encoder.shutdown(wait=False, cancel_futures=True)

    async def _snapshot(self, request: web.Request) -> web.StreamResponse:
        return await self._to_viewer(request, self._next)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        return await self._to_viewer(request, self._all)

    async def _to_viewer(self, request: web.Request, send: Send) -> web.StreamResponse:
        """Answer with `send`, if there is something to show and room for a viewer."""
        name = request.match_info["name"]
        if problem := self._problem(name):
            return problem
        if self._viewers >= MOST_VIEWERS:
            return _refused(f"{MOST_VIEWERS} viewers are watching; no more are possible")
        self._viewers += 1
        try:
            return await send(request, name)
        finally:
            self._viewers -= 1
            if not self._viewers:
                self._encoded.clear()

    async def _next(self, request: web.Request, name: str) -> web.StreamResponse:
        """Return the next frame."""
        since = self._latest.number
        deadline = time.monotonic() + SNAPSHOT_S
        while request.transport and time.monotonic() < deadline and not self._is_closed:
            if found := self._latest.after(self._results()[name], since):
                jpeg = await self._jpeg(name, found)
                if jpeg:
                    headers = {**NEVER_STORED, **_times(found)}
                    return web.Response(body=jpeg, content_type="image/jpeg", headers=headers)
                return _refused(f"the image of {name} cannot be decoded")
            if problem := self._problem(name):
                return problem
            await asyncio.sleep(LOOK_EVERY_S)
        return _refused(f"no frame of {name} has come within {SNAPSHOT_S:.0f} s")

    async def _all(self, request: web.Request, name: str) -> web.StreamResponse:
        """Send each new frame; a slow viewer gets fewer. The stream ends when its source no longer works."""
        _hold_little(request)
        response = web.StreamResponse(headers=STREAM)
        try:
            await response.prepare(request)
            await self._send(request, name, response)
        except (ConnectionError, TimeoutError) as error:
            LOG.debug("a viewer of %s is gone: %s", name, error)
            if request.transport:
                request.transport.abort()  # a viewer who reads nothing would keep the connection open
        return response

    async def _send(self, request: web.Request, name: str, response: web.StreamResponse) -> None:
        number, checked = self._latest.number, time.monotonic()
        while request.transport and not self._is_closed:
            found = self._latest.after(self._results().get(name, ""), number)
            if found:
                number = found.number
                if jpeg := await self._jpeg(name, found):
                    await asyncio.wait_for(response.write(_part(found, jpeg)), WRITE_TIMEOUT_S)
            if time.monotonic() - checked >= CHECK_EVERY_S:
                checked = time.monotonic()
                if self._problem(name):
                    return
            await asyncio.sleep(LOOK_EVERY_S)

    async def _jpeg(self, name: str, found: NumberedFrame) -> bytes:
        """Return the frame as a JPEG, unchanged if it is one; empty: it cannot be decoded."""
        number, encoded = self._encoded.get(name, (0, None))
        if encoded is None or number != found.number:
            loop = asyncio.get_running_loop()
            shows_whole = self._results().get(name) != name
            frame = replace(found.frame, region=None) if shows_whole else found.frame
            encoded = loop.run_in_executor(self._encoder, self._encode, name, frame)
            self._encoded[name] = found.number, encoded
        return await asyncio.shield(encoded)

    def _encode(self, name: str, frame: Frame) -> bytes:
        try:
            return encode_classified(frame, self._max_pixels)
        except ImageError as error:  # another decoder than the Session's may be stricter
            LOG.warning("an image of %s cannot be shown: %s", name, error)
            return b""

    def _problem(self, name: str) -> web.Response | None:
        """Return the answer if nothing of this name can be shown now."""
        known = self._results()
        if name not in known:
            listed = ", ".join(known) or "none"
            return web.Response(
                status=404, text=f"no source or region is called {name}; there are: {listed}\n"
            )
        state = self._states().get(name.partition(".")[0], "")
        return None if state in ("ok", "opening") else _refused(f"source {name}: {state or 'not there yet'}")


def _part(found: NumberedFrame, jpeg: bytes) -> bytes:
    fields = {"Content-Type": "image/jpeg", "Content-Length": len(jpeg), **_times(found)}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return b"".join((f"--{BOUNDARY}\r\n{head}\r\n".encode(), jpeg, b"\r\n"))


def _hold_little(request: web.Request) -> None:
    """Let a write wait until nearly all of it has left this machine."""
    if request.transport:
        assert isinstance(request.transport, asyncio.WriteTransport)
        request.transport.set_write_buffer_limits(0)
        with contextlib.suppress(OSError):  # the viewer is gone
            connection = request.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)


def _times(found: NumberedFrame) -> dict[str, str]:
    age_ms = max(0, round((time.time() - found.at_unix_s) * 1000))
    return {"X-Captured-At": f"{found.at_unix_s:.3f}", "X-Age-Ms": str(age_ms)}


def _refused(said: str) -> web.Response:
    return web.Response(status=503, text=f"{said}\n", headers=NEVER_STORED)

"""Routes of the web UI: its files, the stream of updates, images."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from incv3d.frames import Frame, Result
from incv3d.images.encode import encode_image, encode_thumbnail
from incv3d.images.preprocess import ImageError
from incv3d.protocol.events import EventMessage
from incv3d.transports.http.login import ASSETS
from incv3d.transports.http.webui import messages
from incv3d.transports.http.webui.broadcast import Broadcast, TooManyViewers
from incv3d.transports.http.webui.state import LatestResult, UiState, is_too_large
from incv3d.transports.http.webui.teaching import TeachingRoutes
from incv3d.transports.teaching import Teacher

LOG = logging.getLogger(__name__)
STATIC = Path(__file__).with_name("static")
WRITE_TIMEOUT_S = 10.0
"""A browser that receives nothing for this time is disconnected."""
MOST_WAITING_THUMBNAILS = 8
"""Frames that wait to be encoded; further events have no thumbnail."""
NUMBER = "X-Result"
"""The header with the number of the result that an image belongs to."""
NEVER_STORED = {"Cache-Control": "no-store"}
STREAM = {**NEVER_STORED, "Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}


class WebUi:
    """What browsers get. An image is encoded when a browser requests it, in a thread of its own.

    :param events_wanted: whether the configuration watches any label.
    :param max_pixels: the largest image to decode for display.
    :param max_bytes: the largest picture that may be sent to teach.
    :param teacher: teaches the daemon.
    :param stats: returns the answer to ``stats``; called in a thread while there are viewers.
    :param on_failure: called with the error when the stream of updates fails.
    """

    def __init__(
        self,
        events_wanted: bool,
        max_pixels: int,
        max_bytes: int,
        teacher: Teacher,
        stats: Callable[[], dict[str, Any]],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._max_pixels = max_pixels
        self._view = UiState()
        self._events_wanted = events_wanted
        self._teaching = TeachingRoutes(teacher, max_bytes)
        self._broadcast = Broadcast(self._view, self._hello, stats, teacher.status, on_failure)
        self._encoder = ThreadPoolExecutor(1, "pictures")
        self._room = threading.Semaphore(MOST_WAITING_THUMBNAILS)
        self._encoded: dict[str, tuple[int, bytes]] = {}
        """By source: the number of the result whose image was encoded last, and that image."""

    def routes(self) -> list[web.AbstractRouteDef]:
        """Return all routes."""
        return [
            web.get("/", partial(_page, "index.html")),
            web.get("/history/page", partial(_page, "history.html")),
            # Not `web.static`: strangers may ask here, and it hands any path to the file system.
            *(web.get(f"{ASSETS}{path.name}", partial(_asset, path)) for path in STATIC.iterdir()),
            # aiohttp would send the events as the body of an answer to HEAD, which has none.
            web.get("/live", self._live, allow_head=False),
            web.get("/picture/{source}", self._picture),
            web.get(r"/thumbnail/{number:\d{1,18}}", self._thumbnail),
            *self._teaching.routes(),
        ]

    def deliver(self, result: Result) -> None:
        """Show a result. Any thread may call this."""
        self._view.deliver(result)

    def publish_event(self, announcement: EventMessage, frame: Frame | None) -> None:
        """Show an event. Any thread may call this."""
        wanted = announcement.event == "entered" and frame and not is_too_large(frame)
        pictured = frame if wanted and self._room.acquire(blocking=False) else None
        with contextlib.suppress(RuntimeError):  # the page is closed
            self._encoder.submit(self._remember, announcement, pictured)

    def reconfigure(self, events_wanted: bool, max_pixels: int) -> None:
        """Apply a new configuration; the parameters are those of the constructor."""
        self._events_wanted = events_wanted
        self._max_pixels = max_pixels

    def forget_sources(self) -> None:
        """Stop showing what was captured so far: the daemon has another source now."""
        self._view.forget_sources()

    def close(self) -> None:
        """End all streams, and stop encoding."""
        self._broadcast.close()
        self._teaching.close()
        self._encoder.shutdown(wait=False, cancel_futures=True)

    async def _live(self, request: web.Request) -> web.StreamResponse:
        try:
            viewer = self._broadcast.join()
        except TooManyViewers as error:
            return web.Response(status=503, text=f"{error}\n", headers=NEVER_STORED)
        response = web.StreamResponse(headers=STREAM)
        try:
            await response.prepare(request)
            while news := await viewer.take():
                await asyncio.wait_for(response.write(news), WRITE_TIMEOUT_S)
        except (ConnectionError, TimeoutError) as error:
            LOG.debug("a viewer of the page is gone: %s", error)
        finally:
            self._broadcast.leave(viewer)
        return response

    async def _picture(self, request: web.Request) -> web.Response:
        """Return the latest image of a source; a slow browser gets fewer images, but no old ones."""
        shown = self._broadcast.shown(request.match_info["source"])
        loop = asyncio.get_running_loop()
        jpeg = await loop.run_in_executor(self._encoder, self._encode, shown) if shown else b""
        if not shown or not jpeg:
            return web.Response(status=204, headers=NEVER_STORED)  # no error: it may just be gone
        response = _jpeg(jpeg)
        response.headers[NUMBER] = str(shown.number)
        return response

    async def _thumbnail(self, request: web.Request) -> web.Response:
        number = int(request.match_info["number"])
        found = next((event.thumbnail for event in self._view.events() if event.number == number), b"")
        return _jpeg(found) if found else web.Response(status=404, headers=NEVER_STORED)

    def _hello(self) -> bytes:
        return messages.hello(socket.gethostname(), self._events_wanted, time.time())

    def _encode(self, shown: LatestResult) -> bytes:
        """Return the image of a result, which is encoded only once for all viewers."""
        frame = shown.result.frame
        if not frame:
            return b""
        number, jpeg = self._encoded.get(frame.source, (0, b""))
        if number != shown.number:
            try:
                jpeg = encode_image(frame, self._max_pixels)
            except ImageError as error:  # another decoder than the Session's may be stricter
                LOG.warning("the page cannot show an image of %s: %s", frame.source, error)
                jpeg = b""
            kept = {name: each for name, each in self._encoded.items() if self._broadcast.shown(name)}
            self._encoded = {**kept, frame.source: (shown.number, jpeg)}
        return jpeg

    def _remember(self, announcement: EventMessage, frame: Frame | None) -> None:
        jpeg = b""
        if frame:
            try:
                jpeg = encode_thumbnail(frame, self._max_pixels)
            except ImageError as error:
                LOG.warning("the page cannot show an image of %s: %s", announcement.source, error)
            except Exception:
                LOG.exception("no thumbnail of %s could be made", announcement.source)  # an encoder's bug
            finally:
                self._room.release()
        self._view.announce(announcement, jpeg)


async def _page(name: str, request: web.Request) -> web.FileResponse:
    return web.FileResponse(STATIC / name, headers={"Cache-Control": "no-cache"})


async def _asset(path: Path, request: web.Request) -> web.FileResponse:
    return web.FileResponse(path)


def _jpeg(data: bytes) -> web.Response:
    return web.Response(body=data, content_type="image/jpeg", headers=NEVER_STORED)

"""Cameras that send JPEGs over HTTP: Motion JPEG, or one image per request."""

from __future__ import annotations

import contextlib
import threading
import time

from incv3d.config.address import Address
from incv3d.frames import Frame, image_format
from incv3d.sources.base import FrameSource, SourceError
from incv3d.sources.http_client import HttpClient, HttpResponse
from incv3d.sources.mjpeg import LARGEST_IMAGE, ImageSplitter, SplitError

POLL_S = 1.0
"""Seconds between two requests, unless the configuration sets a rate."""
SIGNATURE_BYTES = 16
"""The first bytes, which identify an image or a web page."""
LONGEST_DRAIN_S = 0.5
"""After this time the newest image is returned even if more of the stream is waiting."""
PLAYLISTS = (b"#EXTM3U", b"<?xml", b"<MPD", b"v=0")
"""How HLS, DASH and SDP begin: lists of addresses, which FFmpeg fetches itself."""


class HttpBody:
    """A response body that is neither images nor a web page; FFmpeg reads it as a file."""

    def __init__(self, client: HttpClient, response: HttpResponse, first: bytes) -> None:
        self._client = client
        self._response = response
        self._waiting = first
        self.is_live = not response.is_bounded and not first.lstrip().startswith(PLAYLISTS)
        """Whether it is an endless stream. FFmpeg itself fetches anything in which it must seek."""

    def read(self, most_bytes: int) -> bytes:
        """Return the next bytes, at most `most_bytes`; empty at the end.

        :raises SourceError: the connection breaks off, or no data arrives in time.
        """
        data = self._waiting or self._response.read()
        self._waiting = data[most_bytes:]
        return data[:most_bytes]

    def interrupt(self) -> None:
        """Make a blocked :meth:`read` return. Callable from any thread; never blocks."""
        self._response.shut()

    def close(self) -> None:
        """Close the connection."""
        self._response.close()
        self._client.close()


def open_http_camera(
    name: str, address: Address, timeout_s: float, interval_s: float
) -> FrameSource | HttpBody:
    """Request `address` and determine the kind of camera from the content of the response.

    :param timeout_s: the longest time without data.
    :param interval_s: seconds between two requests to a camera that sends one image at a time.
    :raises SourceAbsent: the camera does not answer.
    :raises SourceError: the camera refuses, or sends a web page.
    """
    client = HttpClient(address, timeout_s)
    with contextlib.ExitStack() as undo:
        undo.callback(client.close)
        response = client.get()
        undo.callback(response.close)
        camera = _told_by(name, client, response, interval_s)
        undo.pop_all()
        return camera


def _told_by(
    name: str, client: HttpClient, response: HttpResponse, interval_s: float
) -> FrameSource | HttpBody:
    """Return the source for a response, chosen by its first bytes."""
    if response.media_type.startswith("multipart/"):
        return MjpegSource(name, client, response, ImageSplitter(response.boundary), interval_s)
    first = more = response.read()
    while more and len(first) < SIGNATURE_BYTES:
        more = response.read()
        first += more
    if looks_multipart(first):
        return MjpegSource(name, client, response, ImageSplitter(), interval_s, first)
    if image_format(first) is None:
        check_no_page(response, first, client.shown)
        if not first:
            raise SourceError(f"{client.shown}: the response is empty")
        return HttpBody(client, response, first)
    return _images(name, client, response, first, interval_s)


def looks_multipart(first: bytes) -> bool:
    """Return whether a body begins like multipart data although its content type differs."""
    start = first.lstrip().lower()
    return start.startswith((b"--", b"content-type:", b"content-length:"))


def check_no_page(response: HttpResponse, first: bytes, shown: str) -> None:
    """Raise SourceError if the response is a web page."""
    start = first.lstrip().lower()
    is_page = response.media_type in ("text/html", "application/xhtml+xml")
    if is_page or start.startswith((b"<!doctype", b"<html")):
        raise SourceError(
            f"{shown}: a web page, not an image or a stream; see the camera's manual for the path"
        )


def _images(
    name: str, client: HttpClient, response: HttpResponse, first: bytes, interval_s: float
) -> FrameSource:
    """Return the source for single images, or for JPEGs sent back to back."""
    now = time.monotonic()
    splitter = ImageSplitter(in_parts=False)
    body = first
    if not response.is_bounded and image_format(first) == "jpeg":
        while True:
            done = _split(splitter, body[len(body) - len(first) :], now, client.shown)
            first = response.read()
            body += first
            if not first:
                break
            if done:
                return MjpegSource(name, client, response, splitter, interval_s, first, done[-1])
    else:
        body = whole(response, first, client.shown)
    response.close()
    return SnapshotSource(name, client, interval_s, (now, body))


def _split(splitter: ImageSplitter, data: bytes, now: float, shown: str) -> list[tuple[float, bytes]]:
    try:
        return splitter.feed(data, now)
    except SplitError as error:
        raise SourceError(f"{shown}: {error}") from None


def whole(response: HttpResponse, first: bytes, shown: str) -> bytes:
    """Return the whole body, which begins with `first`.

    :raises SourceError: it is larger than any camera's image, or the connection breaks off.
    """
    pieces = [first]
    size_bytes = len(first)
    while piece := response.read():
        pieces.append(piece)
        size_bytes += len(piece)
        if size_bytes > LARGEST_IMAGE:
            raise SourceError(f"{shown}: no end of the image within {LARGEST_IMAGE >> 20} MiB")
    return b"".join(pieces)


class MjpegSource:
    """Motion JPEG, read up to its newest image. The time of a frame is the arrival of its first bytes.

    A camera that ends its stream after one image is requested again.

    :param interval_s: seconds between two requests to such a camera.
    :param first: what has already been read of the stream.
    :param newest: an image that has already arrived, and when.
    """

    lost_frames = 0
    idle_until = 0.0

    def __init__(
        self,
        name: str,
        client: HttpClient,
        response: HttpResponse,
        splitter: ImageSplitter,
        interval_s: float,
        first: bytes = b"",
        newest: tuple[float, bytes] | None = None,
    ) -> None:
        self._name = name
        self._client = client
        self._response = response
        self._splitter = splitter
        self._interval_s = interval_s
        self._first = first
        self._newest = newest
        self._count = 0
        self._has_ended = False
        self._images_in_stream = 1 if newest else 0
        self._due = time.monotonic() + interval_s
        self._interrupted = threading.Event()

    def capture(self, after: float) -> Frame | None:
        """Return the newest image, as soon as no other is waiting.

        :raises SourceAbsent: the camera no longer answers.
        :raises SourceError: the stream ends or fails.
        """
        newest, self._newest = self._newest, None
        drained_since = time.monotonic()
        caught_up = False
        while not self._interrupted.is_set():
            if self._has_ended or (not self._first and not self._response.waits()):
                caught_up = True
            if newest and newest[0] < after:
                newest = None
            if newest and (caught_up or time.monotonic() - drained_since > LONGEST_DRAIN_S):
                return self._frame(*newest)
            if newest is None:
                drained_since = time.monotonic()
                if self._has_ended:
                    self._request_again(after)
                    continue
            newest = self._next() or newest
        return None

    def _request_again(self, after: float) -> None:
        """Request the next image of a camera that sends one per request, when it is due."""
        if self._images_in_stream != 1 or self._splitter.is_in_image:
            raise SourceError(f"{self._client.shown}: the stream ended")
        if self._interrupted.wait(max(0.0, max(self._due, after) - time.monotonic())):
            return
        self._response.close()
        self._due = time.monotonic() + self._interval_s
        self._response = self._client.get()
        self._splitter = ImageSplitter(self._response.boundary)
        self._has_ended, self._images_in_stream = False, 0

    def _next(self) -> tuple[float, bytes] | None:
        """Return the last image that the next bytes complete."""
        data, self._first = self._first or self._response.read(), b""
        if self._interrupted.is_set():
            return None
        if not data:
            self._has_ended = True
            return None
        images = _split(self._splitter, data, time.monotonic(), self._client.shown)
        self._count += len(images)
        self._images_in_stream += len(images)
        return images[-1] if images else None

    def _frame(self, began: float, image: bytes) -> Frame:
        return Frame(self._name, image, None, time.monotonic(), began, id=self._count)

    def interrupt(self) -> None:
        """Wake a blocked capture."""
        self._interrupted.set()
        self._response.shut()

    def close(self) -> None:
        """Close the connection."""
        self._response.close()
        self._client.close()


class SnapshotSource:
    """Requests one image at a time. The time of a frame is that of its request.

    :param interval_s: seconds between two requests.
    :param first: an image that has already arrived, and when.
    """

    lost_frames = 0
    idle_until = 0.0

    def __init__(self, name: str, client: HttpClient, interval_s: float, first: tuple[float, bytes]) -> None:
        self._name = name
        self._client = client
        self._interval_s = interval_s
        self._newest: tuple[float, bytes] | None = first
        self._due = first[0] + interval_s
        self._count = 0
        self._response: HttpResponse | None = None
        self._interrupted = threading.Event()

    def capture(self, after: float) -> Frame | None:
        """Return the next image, when it is due.

        :raises SourceAbsent: the camera does not answer.
        :raises SourceError: it fails, or sends something other than an image.
        """
        newest, self._newest = self._newest, None
        if newest is None or newest[0] < after:
            if self._interrupted.wait(max(0.0, max(self._due, after) - time.monotonic())):
                return None
            newest = self._get()
        if self._interrupted.is_set():
            return None
        self._count += 1
        return Frame(self._name, newest[1], None, time.monotonic(), newest[0], id=self._count)

    def _get(self) -> tuple[float, bytes]:
        asked = time.monotonic()
        # At a fixed rate; missed requests are not caught up.
        self._due = max(self._due + self._interval_s, asked)
        self._response = response = self._client.get()
        try:
            first = response.read()
            image = whole(response, first, self._client.shown)
        finally:
            self._response = None
            response.close()
        if image_format(image) is None:
            check_no_page(response, image, self._client.shown)
            kind = response.media_type or "of no type"
            raise SourceError(
                f"{self._client.shown}: expected an image, received {len(image)} bytes ({kind})"
            )
        return asked, image

    def interrupt(self) -> None:
        """Wake a blocked capture."""
        self._interrupted.set()
        if response := self._response:
            response.shut()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

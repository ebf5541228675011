"""Talk to a running daemon from Python.

>>> from incv3d.client import Client
>>> with Client("tcp://127.0.0.1:5555") as client:            # doctest: +SKIP
...     print(client.classify("cat.jpg").predictions[0].label)
tabby

A camera that produces arrays, and continues when the daemon is restarted or busy:

>>> with Client(retries=3, wait_if_busy=True) as client:      # doctest: +SKIP
...     answer = client.classify_pixels(frame, order="bgr", ttl_ms=500)

A daemon on another machine, which authenticates its clients by key:

>>> with Client("tcp://10.0.0.5:5555", key="gate.key") as client:       # doctest: +SKIP
...     client.ask("ping")

The results of all frames:

>>> for result in results("tcp://127.0.0.1:5556"):            # doctest: +SKIP
...     print(result.source, result.answer.predictions[0].label)

Imports neither NumPy nor an image library: a sender needs only pyzmq and msgspec.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import zmq

from incv3d.client.connection import ClientError, Connection, NoAnswer, NoEntry
from incv3d.client.subscription import Published, events, results
from incv3d.clock import back_off_s
from incv3d.frames import Encoding, Refusal, image_format
from incv3d.protocol import messages
from incv3d.protocol.curve_keys import read_client_key
from incv3d.protocol.latest_frame import LatestFrame

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Client", "ClientError", "NoAnswer", "NoEntry", "Published", "Refused", "events", "results"]

DEFAULT_ADDRESS = "tcp://127.0.0.1:5555"
BACK_OFF_S = 0.1
BACK_OFF_MAX_S = 2.0
ENCODINGS: dict[str, dict[int, Encoding]] = {
    "bgr": {1: "gray8", 3: "bgr24", 4: "bgra"},
    "rgb": {1: "gray8", 3: "rgb24", 4: "rgba"},
}
"""Encodings by channel order and number of channels."""
LEAST_AGE_MS = 50.0
"""The least age that is sent with an image: one that waited for a connection, or is sent again."""
Parts = list[bytes | memoryview]
"""The parts of a request message."""
SUSPICIOUS_BYTES = 16 * 1024 * 1024
"""If a connection is lost during a request of this size, the request was probably too large."""


class Refused(ClientError):
    """The daemon rejected the frame, or failed to classify it.

    :ivar answer: the whole answer.
    :ivar code: the reason, as a :class:`~incv3d.frames.Refusal`, which compares equal to its string (``code
        == "busy"``).
    """

    def __init__(self, answer: messages.Answer) -> None:
        super().__init__(f"{answer.code.value if answer.code else 'error'}: {answer.detail}")
        self.answer = answer
        self.code = answer.code


class Client:
    """A connection to a daemon. It reconnects by itself.

    Not thread-safe: give each thread its own Client (concurrent use raises :class:`ClientError`).

    :param address: the daemon's address: ``pi.local``, ``10.0.0.5:5555``, or as in its ``intake.bind``.
    :param timeout_s: maximum time to connect and to get the answer.
    :param retries: how often to resend a request, with the same id and a new ``timeout_s``, if there is no
        answer or it is ``shutting_down``. The last attempt raises :class:`NoAnswer` or :class:`Refused`.
    :param wait_if_busy: ask again while the answer is ``busy``, until ``timeout_s`` is over.
    :param key: the file made by ``incv3d keys add``, for a daemon that uses keys.
    :raises ClientError: the address is not valid.
    :raises KeyFileError: the key cannot be used. If the daemon rejects it, or requires one, the first request
        raises :class:`NoEntry`.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        timeout_s: float = 30.0,
        *,
        retries: int = 0,
        wait_if_busy: bool = False,
        key: str | os.PathLike[str] | None = None,
    ) -> None:
        client_key = read_client_key(key) if key else None
        self.timeout_s = timeout_s
        self._retries = retries
        self._wait_if_busy = wait_if_busy
        self._ids = itertools.count(1)
        self._in_use = threading.RLock()
        self._context = zmq.Context()
        try:
            self._connection = Connection(self._context, address, client_key)
        except ClientError:
            self._context.term()
            raise
        self.address = self._connection.address

    def classify(
        self,
        image: str | os.PathLike[str] | Buffer,
        *,
        top_k: int | None = None,
        base_top_k: int | None = None,
        ttl_ms: float | None = None,
        captured_at: float | None = None,
        age_ms: float | None = None,
    ) -> messages.Answer:
        """Send one encoded image, its bytes or its file's path, and wait for its labels.

        :param top_k: number of predictions; None: as configured in the daemon.
        :param base_top_k: number of predictions of the base model, for the answer's ``base``; None: none.
        :param ttl_ms: the answer is useless when the image is older than this; the daemon then drops the
            frame.
        :param captured_at: capture time in seconds since 1970, if both machines' clocks are right.
        :param age_ms: age of the image, as an alternative; None: it was taken just now.
        :raises Refused: the daemon rejected the image, or failed to classify it.
        :raises NoAnswer: there was no answer within ``timeout_s``, for any attempt.
        :raises OSError: the file cannot be read.
        """
        if isinstance(image, (str, os.PathLike)):
            image = Path(image).read_bytes()
        data = memoryview(image)
        # If it is not an image at all, the daemon's answer gives the reason.
        encoding = image_format(data) or "jpeg"
        header = messages.Header(v=1, encoding=encoding, top_k=top_k, base_top_k=base_top_k, ttl_ms=ttl_ms)
        return self._classify(header, data, captured_at, age_ms)

    def classify_pixels(
        self,
        pixels: Buffer,
        *,
        order: Literal["bgr", "rgb"] = "bgr",
        top_k: int | None = None,
        base_top_k: int | None = None,
        ttl_ms: float | None = None,
        captured_at: float | None = None,
        age_ms: float | None = None,
    ) -> messages.Answer:
        """Send one image that is not encoded, and wait for its labels.

        :param pixels: ``(height, width, 3)`` or, for gray, ``(height, width)`` of unsigned bytes: a NumPy
            array, a frame of picamera2 or OpenCV, anything with the buffer protocol. A view with gaps is
            copied. ``(height, width, 4)``, picamera2's default, is accepted without its fourth channel, and
            ``(height, width, 1)`` as gray.
        :param order: order of the channels; ``bgr`` for OpenCV and picamera2.
        :raises ClientError: `pixels` has another shape or type.
        :raises Refused: as for :meth:`classify`, like the other errors and parameters.
        """
        view = memoryview(pixels)
        height, width, *more = (*(view.shape or ()), 0, 0)[: max(2, view.ndim)]
        if order not in ENCODINGS:
            raise ClientError(f"order must be `rgb` or `bgr`, not `{order}`")
        encoding = ENCODINGS[order].get(more[0] if len(more) == 1 else 1)
        if view.format != "B" or len(more) > 1 or encoding is None or not (height and width):
            raise ClientError(
                "pixels must be unsigned bytes of shape (height, width, 3), (height, width, 4) or "
                f"(height, width), not {view.format!r} of shape {view.shape}"
            )
        header = messages.Header(
            v=1,
            encoding=encoding,
            width=width,
            height=height,
            top_k=top_k,
            base_top_k=base_top_k,
            ttl_ms=ttl_ms,
        )
        data = view.cast("B") if view.c_contiguous else view.tobytes()
        return self._classify(header, data, captured_at, age_ms)

    def ask(self, operation: messages.Operation) -> dict[str, Any]:
        """Return the daemon's answer to ``ping``, ``stats`` or ``info`` as a dictionary.

        :raises Refused: the daemon does not know the operation.
        :raises NoAnswer: there was no answer within ``timeout_s``, for any attempt.
        """
        return self._question({"op": operation})

    def frame(self, source: str, after: int = 0) -> LatestFrame:
        """Return the latest frame that the daemon captured from `source` and classified.

        :param source: the name of the source, or ``NAME.REGION``.
        :param after: only one that came after the frame with this number; without one, ``number`` is 0.
        :raises Refused: the daemon is too old to know the question.
        :raises NoAnswer: as for :meth:`ask`.
        """
        document = self._question({"op": "frame", "source": source, "after": after})
        try:
            return msgspec.convert(document, LatestFrame)
        except msgspec.ValidationError as error:
            raise ClientError(f"{self.address}: an answer of another wire format: {error}") from None

    def _question(self, asked: dict[str, Any]) -> dict[str, Any]:
        number = next(self._ids)
        question = msgspec.json.encode({"v": messages.VERSION, "id": number, **asked})
        document = self._exchange(number, lambda: [question])
        if document.get("status") != "ok":
            raise Refused(self._answer(document))
        return document

    def close(self) -> None:
        """Close the connection, dropping unsent messages. Can be called again."""
        with self._alone():
            if not self._context.closed:
                self._connection.close()
                self._context.term()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _classify(
        self,
        header: messages.Header,
        data: bytes | memoryview,
        captured_at: float | None,
        age_ms: float | None,
    ) -> messages.Answer:
        if captured_at is not None and age_ms is not None:
            raise ClientError("captured_at and age_ms exclude each other; use one of them")
        header.id = number = next(self._ids)
        header.captured_at = captured_at
        taken = time.monotonic() - (age_ms or 0.0) / 1000

        def parts() -> Parts:
            if captured_at is None:
                header.age_ms = age_since(taken)
            return [msgspec.json.encode(header), data]

        answer = self._answer(self._exchange(number, parts))
        if answer.status != "ok":
            raise Refused(answer)
        return answer

    def _answer(self, document: dict[str, Any]) -> messages.Answer:
        try:
            return msgspec.convert(document, messages.Answer)
        except msgspec.ValidationError as error:
            raise ClientError(f"{self.address}: an answer of another wire format: {error}") from None

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._in_use.acquire(blocking=False):
            raise ClientError("this Client is in use by another thread; give each thread its own")
        try:
            yield
        finally:
            self._in_use.release()

    def _exchange(self, number: int, parts: Callable[[], Parts]) -> dict[str, Any]:
        with self._alone():
            if self._context.closed:
                raise ClientError("this Client is closed")
            for attempt in range(self._retries):
                with contextlib.suppress(NoAnswer):
                    document = self._attempt(number, parts)
                    if document.get("code") != Refusal.SHUTTING_DOWN.value:
                        return document
                time.sleep(retry_pause_s(attempt))
            return self._attempt(number, parts)

    def _attempt(self, number: int, parts: Callable[[], Parts]) -> dict[str, Any]:
        deadline = time.monotonic() + self.timeout_s
        refused = 0
        while True:
            document = self._ask_once(number, parts, deadline)
            if not (self._wait_if_busy and document.get("code") == Refusal.BUSY.value):
                return document
            pause_s = document["retry_ms"] / 1000 if document.get("retry_ms") else retry_pause_s(refused)
            if time.monotonic() + pause_s >= deadline:
                return document
            time.sleep(pause_s)
            refused += 1

    def _ask_once(self, number: int, make_parts: Callable[[], Parts], deadline: float) -> dict[str, Any]:
        connection = self._connection
        if not connection.wait_connected(deadline):
            why = (
                "the server is not an incv3d daemon (intake.bind), or requires a key"
                if connection.foreign
                else "nothing listens at that address"
            )
            raise NoAnswer(f"{self._nothing_in_time()}: {why}; is incv3d running?")
        parts = make_parts()
        if not connection.try_send(parts):
            raise NoAnswer(f"no answer from {self.address}: it does not read requests")
        losses = connection.losses
        while True:
            while (data := connection.receive()) is not None:
                document = self._document(data)
                # An answer to an earlier call, which had timed out, does not belong to this call.
                if document.get("id") == number:
                    return document
            if connection.losses > losses:
                size_bytes = len(parts[-1])
                hint = f"; perhaps {size_bytes} bytes are too many" if size_bytes > SUSPICIOUS_BYTES else ""
                raise NoAnswer(f"no answer from {self.address}: the connection was lost{hint}")
            if time.monotonic() >= deadline:
                raise NoAnswer(f"{self._nothing_in_time()}; is incv3d running there?")
            connection.wait(deadline)

    def _nothing_in_time(self) -> str:
        return f"no answer from {self.address} within {self.timeout_s:g} s"

    def _document(self, data: bytes) -> dict[str, Any]:
        try:
            return msgspec.json.decode(data, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise ClientError(f"{self.address}: the server is not incv3d") from None


def age_since(taken: float) -> float | None:
    """Return the age in ms to send with an image taken at `taken` (monotonic), or None if negligible."""
    age_ms = (time.monotonic() - taken) * 1000
    return round(age_ms, 3) if age_ms >= LEAST_AGE_MS else None


def retry_pause_s(attempt: int) -> float:
    """Return how long to wait before another attempt, counted from 0."""
    return back_off_s(attempt + 1, BACK_OFF_S, BACK_OFF_MAX_S)

"""Speak to a running daemon from Python.

>>> from incv3d.client import Client
>>> with Client("tcp://127.0.0.1:5555") as client:            # doctest: +SKIP
...     print(client.classify("cat.jpg").predictions[0].label)
tabby
"""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import zmq

from incv3d import wire
from incv3d.errors import Incv3dError
from incv3d.frames import picture_format

DEFAULT_ADDRESS = "tcp://127.0.0.1:5555"


class ClientError(Incv3dError):
    """The daemon could not be asked."""


class NoAnswer(ClientError):
    """The daemon did not answer in time."""


class Refused(ClientError):
    """The daemon answered that it did not classify the frame.

    :ivar answer: the whole answer; ``answer.code`` says why.
    """

    def __init__(self, answer: wire.Answer) -> None:
        super().__init__(f"{answer.code.value if answer.code else 'error'}: {answer.detail}")
        self.answer = answer


class Client:
    """One connection to a daemon; it reconnects by itself. Not to be shared between threads.

    :param address: where the daemon's door is, as in its ``intake.bind``.
    :param timeout_s: how long an answer may take.
    """

    def __init__(self, address: str = DEFAULT_ADDRESS, timeout_s: float = 30.0) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self._ids = itertools.count(1)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.set(zmq.LINGER, 0)
        try:
            self._socket.connect(address)
        except zmq.ZMQError as error:
            self.close()
            raise ClientError(f"{address}: cannot connect: {error.strerror}") from None

    def classify(
        self,
        picture: bytes | str | os.PathLike[str],
        *,
        top_k: int | None = None,
        ttl_ms: float | None = None,
    ) -> wire.Answer:
        """Send one encoded picture, bytes or a file's path, and wait for its labels.

        :param ttl_ms: the answer is of no use after so many milliseconds; the daemon drops the frame then.
        :raises Refused: the daemon would not, or could not, classify it.
        :raises NoAnswer: nothing came within ``timeout_s``.
        """
        data = picture if isinstance(picture, bytes) else Path(picture).read_bytes()
        number = self.send(data, top_k=top_k, ttl_ms=ttl_ms)
        answer = msgspec.convert(self._await(number), wire.Answer)
        if answer.status != "ok":
            raise Refused(answer)
        return answer

    def ask(self, operation: wire.Operation) -> dict[str, Any]:
        """``ping``, ``stats`` or ``info``: the daemon's answer as a dictionary.

        :raises NoAnswer: nothing came within ``timeout_s``.
        """
        number = next(self._ids)
        self._socket.send(msgspec.json.encode({"v": wire.VERSION, "op": operation, "id": number}))
        return self._await(number)

    def send(self, data: bytes, *, top_k: int | None = None, ttl_ms: float | None = None) -> int:
        """Send one encoded picture without waiting; returns the id that its answer will have."""
        number = next(self._ids)
        # What is no picture at all is for the daemon to say: its answer then names the reason.
        encoding = picture_format(data) or "jpeg"
        header = wire.Header(
            v=1, id=number, encoding=encoding, captured_at=time.time(), top_k=top_k, ttl_ms=ttl_ms
        )
        self._socket.send_multipart([msgspec.json.encode(header), data])
        return number

    def receive(self, timeout_s: float) -> wire.Answer | None:
        """The next answer to a :meth:`send`; None when none came in time."""
        document = self._next(timeout_s)
        return None if document is None else msgspec.convert(document, wire.Answer)

    def close(self) -> None:
        """Let go of the connection; what was not sent yet is dropped."""
        self._socket.close()
        self._context.term()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _await(self, number: int) -> dict[str, Any]:
        deadline = time.monotonic() + self.timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            document = self._next(left_s)
            # An answer of an earlier call, given up as too late, is not this call's.
            if document is not None and document.get("id") == number:
                return document
        raise NoAnswer(f"no answer from {self.address} within {self.timeout_s:g} s; is incv3d running there?")

    def _next(self, timeout_s: float) -> dict[str, Any] | None:
        if not self._socket.poll(max(0, round(timeout_s * 1000))):
            return None
        return msgspec.json.decode(self._socket.recv(), type=dict[str, Any])

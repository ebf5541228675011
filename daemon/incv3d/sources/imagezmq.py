"""Source type ``imagezmq``: remote cameras that publish with imagezmq's ``ImageSender(REQ_REP=False)``."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import zmq

from incv3d.config.address import Address
from incv3d.config.source import SourceSection
from incv3d.frames import Frame
from incv3d.protocol import messages
from incv3d.protocol.keepalive import keep_alive
from incv3d.sources.backend import SourceBackend
from incv3d.sources.base import OpenSource, SourceError
from incv3d.threads import WakePipe

LOG = logging.getLogger(__name__)
LARGEST_MESSAGE = 32 * 1024 * 1024
HIGH_WATER_MARK = 2
"""Messages that ZeroMQ may buffer per sender; further ones wait at the sender."""
LONGEST_BURST = 1000
HANG_UP_S = 2.0
"""If no frame is needed for longer than this, the senders are disconnected meanwhile."""


class ImagezmqSource:
    """Subscribes to several senders and returns the newest image of each in turn.

    A result's ``id`` is the name that the sender gave the image. Damaged messages are skipped.

    :param addresses: where the senders publish.
    :raises SourceError: an address cannot be connected to.
    """

    lost_frames = 0
    idle_until = 0.0

    def __init__(self, name: str, addresses: Sequence[str | Address]) -> None:
        self._name = name
        self._addresses = [Address(each) for each in addresses]
        self._context = zmq.Context()
        self._sockets: list[zmq.Socket[bytes]] = []
        self._newest: dict[zmq.Socket[bytes], Frame] = {}
        self._complained: set[str] = set()
        self._wake = WakePipe()
        self._interrupted = False
        try:
            self._connect()
        except SourceError:
            self.close()
            raise

    def _connect(self) -> None:
        for address in self._addresses:
            socket = self._context.socket(zmq.SUB)
            self._sockets.append(socket)
            socket.set(zmq.SUBSCRIBE, b"")
            socket.set(zmq.RCVHWM, HIGH_WATER_MARK)
            socket.set(zmq.LINGER, 0)
            socket.set(zmq.MAXMSGSIZE, LARGEST_MESSAGE)
            # A sender that loses power closes no connection; without this, its restart goes unnoticed.
            keep_alive(socket)
            socket.set(zmq.RECONNECT_IVL_MAX, 5_000)
            try:
                socket.connect(address.reveal())
            except zmq.ZMQError as error:
                raise SourceError(f"{address}: {error.strerror}") from None

    def _disconnect(self) -> None:
        self._newest.clear()
        while self._sockets:
            self._sockets.pop().close()

    def capture(self, after: float) -> Frame | None:
        """Return the newest image of the sender whose turn it is. Its capture time is that of its arrival."""
        if after - time.monotonic() > HANG_UP_S:
            # A sender cannot be paused, but sends nothing over a closed connection, so nothing grows stale.
            self._disconnect()
            self._wait(after - time.monotonic())
            self._connect()
        while not self._interrupted:
            early_s = after - time.monotonic()
            if early_s > 0:
                # Keep reading and discard: messages left in the sockets would be stale later.
                self._newest.clear()
            elif self._newest:
                return self._take()
            self._wait(early_s if early_s > 0 else None)
        return None

    def _take(self) -> Frame:
        socket = next(each for each in self._sockets if each in self._newest)
        self._sockets.remove(socket)
        self._sockets.append(socket)
        return self._newest.pop(socket)

    def _wait(self, most_s: float | None) -> None:
        """Read what arrives next from any sender, within `most_s`; None: wait without limit."""
        poller = zmq.Poller()
        poller.register(self._wake.fileno(), zmq.POLLIN)
        for socket in self._sockets:
            poller.register(socket, zmq.POLLIN)
        poller.poll(None if most_s is None else math.ceil(most_s * 1000))
        for socket in self._sockets:
            with contextlib.suppress(zmq.Again):
                for _ in range(LONGEST_BURST):
                    frame = self._parse(socket.recv_multipart(zmq.NOBLOCK))
                    if frame:
                        self._newest[socket] = frame

    def _parse(self, parts: list[bytes]) -> Frame | None:
        try:
            intent = messages.parse(
                list(parts), messages.Clocks(time.monotonic(), time.time()), 0, LARGEST_MESSAGE
            )
        except messages.BadRequest as error:
            if str(error) not in self._complained and len(self._complained) < 100:
                self._complained.add(str(error))
                LOG.warning("source %s: message skipped: %s", self._name, error)
            return None
        return replace(intent.frame, source=self._name) if intent.frame else None

    def interrupt(self) -> None:
        """Wake a blocked capture."""
        self._interrupted = True
        with contextlib.suppress(OSError):  # it may be closed meanwhile
            self._wake.wake()

    def close(self) -> None:
        """Close all connections."""
        self._disconnect()
        self._context.term()
        self._wake.close()


def _opener(section: SourceSection) -> OpenSource:
    return partial(ImagezmqSource, section.name, section.addresses)


IMAGEZMQ = SourceBackend(opener=_opener)

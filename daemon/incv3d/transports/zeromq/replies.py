"""Pairs every request at the ZeroMQ door with exactly one answer."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import zmq

from incv3d.frames import FrameId
from incv3d.transports.zeromq.final_replies import send_and_disconnect
from incv3d.transports.zeromq.peer_socket import PeerSocket

LOG = logging.getLogger(__name__)
MOST_HELD = 1000
"""The most answers to hold until the door closes; a flood must not fill the memory."""


@dataclass(slots=True)
class Request:
    """A request without an answer."""

    envelope: list[bytes]
    """The parts that precede its answer."""
    socket: PeerSocket | None
    """The socket of its connection; None if it is closed."""
    id: FrameId = None
    request_id: int = 0
    """Its number in :class:`Replies`; 0: it is not registered yet."""
    user: bytes = b""
    """The key of the client that sent it, where keys are required."""
    last_answer: bytes | None = None
    """The answer to send when the door closes."""

    @property
    def peer(self) -> bytes:
        """The routing id of its connection."""
        return self.envelope[0]


class Replies:
    """Gives every request a ticket until it is answered; the first answer to a ticket counts.

    :param router: the socket that sends the answers.
    :param may_have: tells whether the client with this key may receive an answer.
    """

    def __init__(self, router: zmq.Socket[bytes], may_have: Callable[[bytes], bool]) -> None:
        self._router = router
        self._may_have = may_have
        self._open: dict[int, Request] = {}
        self._request_ids = itertools.count(1)
        self._held = 0
        self.hold_all = False
        """Whether no answer is sent before :meth:`send_held`."""
        self.undelivered = 0
        """Answers that could not be sent."""

    def __len__(self) -> int:
        """Return the number of requests without an answer."""
        return len(self._open)

    def add(self, request: Request) -> int:
        """Register a request, if it is a new one, and return its ticket."""
        if not request.request_id:
            request.request_id = next(self._request_ids)
            self._open[request.request_id] = request
        return request.request_id

    def waiting_peers(self) -> set[bytes]:
        """Return the connections that wait for an answer."""
        return {request.peer for request in self._open.values()}

    def unanswered(self) -> Iterator[Request]:
        """Yield the requests that have no answer, not even a held one."""
        return (each for each in list(self._open.values()) if each.last_answer is None)

    def send(self, request_id: int, data: bytes, is_last: bool = False) -> None:
        """Answer a request.

        :param is_last: the daemon is stopping: the answer is held until :meth:`send_held`, unless its sender
            sends further requests without waiting for the answer.
        """
        request = self._open.get(request_id)
        if request is None:  # answered already, because the thread that now delivers a result was abandoned
            return
        if self.hold_all or (is_last and self._held < MOST_HELD and self._waits(request)):
            self._held += request.last_answer is None
            request.last_answer = data
            return
        del self._open[request_id]
        if self._may_have(request.user):
            self._send([*request.envelope, data])

    def send_held(self, encrypted: bool) -> None:
        """Send the held answers. The caller must close the router at once.

        See :mod:`incv3d.transports.zeromq.final_replies`.

        :param encrypted: whether the connections of the router are encrypted.
        """
        last = [
            (request.socket, [*request.envelope, request.last_answer])
            for request in self._open.values()
            if request.last_answer is not None and self._may_have(request.user)
        ]
        self._open.clear()
        send_and_disconnect(last, self._send, encrypted)

    def _waits(self, request: Request) -> bool:
        """Return whether this is the only open request of its sender, which then waits for each answer."""
        return not any(each.peer == request.peer and each is not request for each in self._open.values())

    def _send(self, parts: Sequence[bytes]) -> None:
        try:
            self._router.send_multipart(parts, zmq.NOBLOCK)
        except zmq.ZMQError as error:
            # The peer is gone or does not read.
            self.undelivered += 1
            LOG.debug("an answer could not be sent: %s", error.strerror)

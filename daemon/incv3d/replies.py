"""The requests at the ZeroMQ door that have no answer yet, and their answers: exactly one each."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import zmq

from incv3d.final_replies import send_and_disconnect
from incv3d.frames import FrameId
from incv3d.peer_socket import PeerSocket

LOG = logging.getLogger(__name__)
MOST_HELD = 1000
"""Answers that are held until the door closes; a flood must not fill the memory of a daemon that stops."""


@dataclass(slots=True)
class Request:
    """A request that has no answer yet."""

    envelope: list[bytes]
    """The parts under which its answer is sent."""
    socket: PeerSocket | None
    """Under its connection; None: that is gone."""
    id: FrameId = None
    user: bytes = b""
    """The key of the client that sent it, where keys are asked for."""
    last_answer: bytes | None = None
    """What it is answered when the door closes."""

    @property
    def peer(self) -> bytes:
        """The connection that it came over."""
        return self.envelope[0]


class Replies:
    """Every request has a ticket until it is answered; the first answer to a ticket counts.

    :param router: answers are sent by it.
    :param may_have: whether the client with this key may have an answer.
    """

    def __init__(self, router: zmq.Socket[bytes], may_have: Callable[[bytes], bool]) -> None:
        self._router = router
        self._may_have = may_have
        self._open: dict[int, Request] = {}
        self._tickets = itertools.count(1)
        self._held = 0
        self.hold_all = False
        """Whether no answer is sent before :meth:`send_held`."""
        self.undelivered = 0
        """Answers that could not be sent."""

    def __len__(self) -> int:
        """Requests without an answer."""
        return len(self._open)

    def add(self, request: Request) -> int:
        """The ticket of a new request."""
        ticket = next(self._tickets)
        self._open[ticket] = request
        return ticket

    def waiting_peers(self) -> set[bytes]:
        """The connections over which an answer is awaited."""
        return {request.peer for request in self._open.values()}

    def unanswered(self) -> Iterator[tuple[int, Request]]:
        """Tickets and requests for which there is no answer, not even one that is held."""
        return ((ticket, each) for ticket, each in list(self._open.items()) if each.last_answer is None)

    def send(self, ticket: int, data: bytes, is_last: bool = False) -> None:
        """Answer a request.

        :param is_last: the daemon is stopping: the answer is held until :meth:`send_held`, unless its sender
            does not wait for one answer before it sends the next request.
        """
        request = self._open.get(ticket)
        if request is None:  # answered already, when the thread that now comes with a result was given up
            return
        if self.hold_all or (is_last and self._held < MOST_HELD and self._waits(request)):
            self._held += request.last_answer is None
            request.last_answer = data
            return
        del self._open[ticket]
        if self._may_have(request.user):
            self._send([*request.envelope, data])

    def send_held(self, encrypted: bool) -> None:
        """Send what is held. The router must be closed at once; see :mod:`incv3d.final_replies`.

        :param encrypted: whether the router's connections are.
        """
        last = [
            (request.socket, [*request.envelope, request.last_answer])
            for request in self._open.values()
            if request.last_answer is not None and self._may_have(request.user)
        ]
        self._open.clear()
        send_and_disconnect(last, self._send, encrypted)

    def _waits(self, request: Request) -> bool:
        """Whether its sender has no other request here, as one that waits for each answer has none."""
        return not any(each.peer == request.peer and each is not request for each in self._open.values())

    def _send(self, parts: Sequence[bytes]) -> None:
        try:
            self._router.send_multipart(parts, zmq.NOBLOCK)
        except zmq.ZMQError as error:
            # The peer is gone, or does not read: its answer has nowhere to go.
            self.undelivered += 1
            LOG.debug("an answer could not be sent: %s", error.strerror)

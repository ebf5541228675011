"""Send answers over the ROUTER socket, the last ones together with the end of their connections."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import zmq

from incv3d.frames import FrameId, Refusal
from incv3d.transports.pending import Answer
from incv3d.transports.zeromq.final_replies import send_and_disconnect
from incv3d.transports.zeromq.peer_socket import PeerSocket

LOG = logging.getLogger(__name__)
MOST_HELD = 1000
"""The most answers to hold until the server closes; a flood must not fill the memory."""


@dataclass(slots=True)
class Request:
    """A request."""

    envelope: list[bytes]
    """The parts that precede its answer."""
    socket: PeerSocket | None
    """The socket of its connection; None if it is closed."""
    id: FrameId = None
    request_id: int = 0
    """Its number among the pending requests; 0: it is not registered yet."""
    user: bytes = b""
    """The key of the client that sent it, where keys are required."""

    @property
    def peer(self) -> bytes:
        """Return the routing id of its connection."""
        return self.envelope[0]


class Replies:
    """Send each answer, or hold it until the server closes.

    :param router: the socket that sends the answers.
    :param may_have: returns whether the client with this key may receive an answer.
    :param pending: returns the requests without an answer.
    """

    def __init__(
        self,
        router: zmq.Socket[bytes],
        may_have: Callable[[bytes], bool],
        pending: Callable[[], list[Request]],
    ) -> None:
        self._router = router
        self._may_have = may_have
        self._pending = pending
        self._held: list[tuple[Request, bytes]] = []
        self.hold_all = False
        """Whether no answer is sent before :meth:`send_held`."""
        self.undelivered = 0
        """Answers that could not be sent."""

    def __len__(self) -> int:
        """Return the number of answers held."""
        return len(self._held)

    def send(self, request: Request, answer: Answer) -> None:
        """Send an answer.

        The answer that the daemon is stopping is held until :meth:`send_held`, unless its sender sends
        further requests without waiting for it.
        """
        is_last = answer.rejection is not None and answer.rejection.refusal is Refusal.SHUTTING_DOWN
        if self.hold_all or (is_last and len(self._held) < MOST_HELD and self._waits(request)):
            self._held.append((request, answer.data))
        elif self._may_have(request.user):
            self._send([*request.envelope, answer.data])

    def send_held(self, encrypted: bool) -> None:
        """Send the held answers. The caller must close the router at once.

        See :mod:`incv3d.transports.zeromq.final_replies`.

        :param encrypted: whether the connections of the router are encrypted.
        """
        last = [
            (request.socket, [*request.envelope, data])
            for request, data in self._held
            if self._may_have(request.user)
        ]
        self._held.clear()
        send_and_disconnect(last, self._send, encrypted)

    def _waits(self, request: Request) -> bool:
        """Return whether this is the only open request of its sender, which then waits for each answer."""
        others = [*self._pending(), *(held for held, _ in self._held)]
        return not any(each.peer == request.peer for each in others)

    def _send(self, parts: Sequence[bytes]) -> None:
        try:
            self._router.send_multipart(parts, zmq.NOBLOCK)
        except zmq.ZMQError as error:
            # The peer is gone or does not read.
            self.undelivered += 1
            LOG.debug("an answer could not be sent: %s", error.strerror)

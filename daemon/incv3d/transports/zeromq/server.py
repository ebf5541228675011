"""The ZeroMQ server: requests (ROUTER) and published results (PUB). One thread owns all its sockets."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
import zmq

from incv3d.config.intake import IntakeSection
from incv3d.frames import Frame, Refusal, Result
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.protocol import messages
from incv3d.protocol.clocks import SenderClocks
from incv3d.protocol.events import EventMessage
from incv3d.protocol.events import topic as event_topic
from incv3d.threads import Activity, OnDeath, WakePipe, start_thread
from incv3d.transports.admission import Admission, Rejection
from incv3d.transports.pending import PendingRequests
from incv3d.transports.recent_peers import RecentPeers
from incv3d.transports.zeromq.arrivals import Arrivals
from incv3d.transports.zeromq.envelope import envelope_length, next_message
from incv3d.transports.zeromq.key_store import KeyStore
from incv3d.transports.zeromq.peer_socket import PeerSocket, address_of
from incv3d.transports.zeromq.replies import Replies, Request
from incv3d.transports.zeromq.retries import RetryLimiter
from incv3d.transports.zeromq.sockets import configure_router, disconnect_all, listen
from incv3d.transports.zeromq.zap import ZapAuthenticator

LOG = logging.getLogger(__name__)
RECEIVE_BURST = 64
"""Messages to receive before the next check whether the server closes."""
LAST_BURST = 1000
"""Messages to receive at the end, each answered `shutting_down`; a flood must not keep the daemon running."""
QUIET_S = 0.2
"""At the end the server receives until no request has arrived for this time ..."""
SETTLING_S = 1.0
"""... and no longer than this."""
LARGEST_SUBSCRIPTION = 1024
"""Bytes of a message from a subscriber; topics are shorter."""
KEYS_INTERVAL_S = 1.0
"""How often to check for revoked clients while nothing happens."""
RECENT_S = 60.0
"""`stats` counts the peers with a request in this time."""
HANGS_S = 1.0
"""A result that has waited for this time to be sent shows that the thread hangs."""


class ZmqServer:
    """A ROUTER socket for requests and a PUB socket for results, served by one thread.

    :param describe: answers ``ping``, ``stats`` and ``info`` with a dictionary.
    :param identity: returns the names of model and engine, for the answers.
    :param admission: queues a frame, or rejects it.
    :param on_rejected: called for every request that does not reach the pipeline.
    :param on_death: called with the thread's name and the error when the thread dies.
    :param keys: only clients with these keys are accepted; None: all that can connect.
    """

    def __init__(
        self,
        section: IntakeSection,
        frame_queue: FrameQueue,
        describe: Callable[[messages.Operation, str, int], dict[str, Any]],
        identity: Callable[[], tuple[str, str]],
        admission: Admission,
        on_rejected: Callable[[Refusal], None],
        on_death: OnDeath,
        keys: KeyStore | None = None,
    ) -> None:
        self._section = section
        self._frame_queue = frame_queue
        self._describe = describe
        self._admission = admission
        self._on_death = on_death
        self.activity = Activity("intake", "receiving and answering")
        self._clocks = SenderClocks()
        self._peers = RecentPeers()
        self._outbox: deque[tuple[float, Result | EventMessage]] = deque()  # with the time of queueing
        self._closing = threading.Event()
        self._settling_s = SETTLING_S
        self._wake = WakePipe()
        self._context = zmq.Context()
        self._authenticator = ZapAuthenticator(self._context, keys) if keys else None
        self._router = self._context.socket(zmq.ROUTER)
        self._publisher = self._context.socket(zmq.PUB) if section.publish else None
        self._replies = Replies(self._router, self._is_authorized, lambda: self._pending.requests())
        self._pending = PendingRequests[Request](
            messages.SOURCE, identity, lambda: len(frame_queue), on_rejected, self._replies.send
        )
        self._retries = RetryLimiter()
        self._arrivals = Arrivals(section.arriving_bytes)
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Bind both addresses.

        :raises TransportError: an address is in use or does not belong to this machine.
        :raises KeyFileError: the daemon's keys cannot be used.
        """
        if self._authenticator:
            self._authenticator.open()
            self._authenticator.guard(self._router)
            if self._publisher:
                self._authenticator.guard(self._publisher)
        for socket in (self._router, self._publisher):
            if socket:
                self._arrivals.watch(self._context, socket)
        configure_router(self._router, self._section.max_message_bytes)
        listen(self._router, self._section.bind, "intake.bind")
        if self._publisher:
            self._publisher.set(zmq.MAXMSGSIZE, LARGEST_SUBSCRIPTION)
            listen(self._publisher, self._section.publish, "intake.publish")

    def start(self) -> None:
        """Start to receive."""
        self._thread = start_thread(self.activity.name, self._serve, self._on_death)

    def reconfigure(self, section: IntakeSection) -> None:
        """Apply a new configuration to requests; addresses and message sizes stay as they are."""
        self._section = section
        self._arrivals.limit_bytes = section.arriving_bytes

    def status(self) -> dict[str, Any]:
        """Return counts of requests, answers and peers, for ``stats``."""
        recent = len(self._peers.since(time.monotonic() - RECENT_S))
        return {
            "unanswered": len(self._pending) + len(self._replies),
            "undelivered": self.undelivered,
            "peers": {"seen": recent, "waiting": self._frame_queue.peers, "closed": self._arrivals.closed},
            **({"keys": self._authenticator.status()} if self._authenticator else {}),
        }

    @property
    def undelivered(self) -> int:
        """Return how many answers could not be sent."""
        return self._replies.undelivered

    def reread_keys(self) -> None:
        """Read every client's key again. Any thread may call this."""
        if self._authenticator:
            self._authenticator.reread()
            self._wake.wake()

    def deliver(self, result: Result) -> bool:
        """Answer and publish `result`. Any thread may call this.

        :returns: False if the thread has not sent a result that was delivered a second ago: it hangs.
        """
        now = time.monotonic()
        # Without its image: a queue of answers must not become a queue of images.
        self._outbox.append((now, replace(result, frame=None)))
        self._wake.wake()
        try:
            return now - self._outbox[0][0] < HANGS_S
        except IndexError:  # the thread has sent it already
            return True

    def publish_event(self, event: EventMessage) -> None:
        """Publish an event after what was delivered before it. Any thread may call this."""
        self._outbox.append((time.monotonic(), event))
        self._wake.wake()

    def close(self, timeout_s: float, refusal: Refusal, detail: str) -> bool:
        """Send what is in the outbox, answer what is still open with `refusal`, and close.

        A client in a loop, which sends its next request when it has an answer, sends it to the next daemon.

        :returns: False if the thread did not end in time; then nothing is closed.
        """
        self._settling_s = min(SETTLING_S, timeout_s / 2)
        self._closing.set()
        self._wake.wake()
        if self._thread:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                return False
            # The thread has ended, one way or another: this thread may use its sockets now.
            self._send_outbox()
            self._pending.reject_all(Rejection(refusal, detail))
            self._replies.send_held(encrypted=self._authenticator is not None)
        self._arrivals.close()
        for socket in (self._router, self._publisher):
            if socket:
                socket.close()
        if self._authenticator:
            self._authenticator.close()
        self._context.term()
        self._wake.close()
        return True

    def _is_authorized(self, user: bytes) -> bool:
        return self._authenticator is None or self._authenticator.is_authorized(user)

    def _serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._wake.fileno(), zmq.POLLIN)
        for monitor in self._arrivals.monitors:
            poller.register(monitor, zmq.POLLIN)
        if self._authenticator:
            poller.register(self._authenticator.socket, zmq.POLLIN)
        while not self._closing.is_set():
            ready = dict(poller.poll(self._longest_wait_ms()))
            with self.activity:
                if self._wake.fileno() in ready:
                    self._wake.clear()
                if self._authenticator:
                    self._check_keys(self._authenticator)
                self._send_outbox()
                self._send_due_rejections()
                if self._router in ready:
                    self._receive_burst(RECEIVE_BURST)
                self._arrivals.check(time.monotonic(), ready)
                if self._authenticator and self._authenticator.socket in ready:
                    self._authenticator.decide()
        self._settle()

    def _longest_wait_ms(self) -> int | None:
        now = time.monotonic()
        waits_s = (
            self._retries.wait_s(now),
            self._arrivals.wait_s(now),
            KEYS_INTERVAL_S if self._authenticator else None,
        )
        return min((math.ceil(wait_s * 1000) for wait_s in waits_s if wait_s is not None), default=None)

    def _settle(self) -> None:
        """Receive until no request has arrived for a while: more may be on their way.

        A client in a loop sends its next request; another does not wait for answers.
        """
        self._replies.hold_all = True
        end = time.monotonic() + self._settling_s
        received = 0
        while received < LAST_BURST:
            self._send_outbox()
            received += self._receive_burst(RECEIVE_BURST)
            now = time.monotonic()
            left_s = min(QUIET_S, end - now) if self._peers.since(now - SETTLING_S) else 0
            if left_s <= 0 or not self._router.poll(math.ceil(left_s * 1000)):
                return

    def _check_keys(self, authenticator: ZapAuthenticator) -> None:
        if authenticator.check() and self._publisher:
            # A PUB socket cannot choose its receivers: all must connect again, and revoked ones cannot.
            disconnect_all(self._publisher, self._section.publish, "intake.publish")

    def _receive_burst(self, most: int) -> int:
        """Receive at most `most` messages that have already arrived; return how many."""
        for received in range(most):
            try:
                parts, count = next_message(self._router)
            except zmq.Again:
                return received
            self._receive(parts, count)
            if self._outbox:  # a flood of requests must not hold up answers
                self._send_outbox()
        return most

    def _receive(self, parts: list[zmq.Frame], count: int) -> None:
        received = time.monotonic()
        length = envelope_length(parts, count)
        request = Request([part.bytes for part in parts[:length]], PeerSocket.under(parts[0]))
        self._arrivals.read(request.socket, sum(len(part) for part in parts))
        where = partial(address_of, parts[0])
        now = messages.Clocks(
            received, time.time(), partial(self._clocks.age_s, request.peer, where, received)
        )
        if self._authenticator:
            user = self._authenticator.admit(request.peer, parts[0])
            if user is None:
                return
            request.user = user
        self._peers.note(request.peer, received)
        body: list[messages.Bytes] = [part.buffer for part in parts[length:]]
        section = self._section
        try:
            if count > len(parts):
                raise messages.BadRequest(messages.too_many_parts(count - length))
            intent = messages.parse(body, now, section.ttl_ms, section.max_message_bytes)
            request.id = intent.id
            if intent.operation:
                # Registered when it has its answer: it is not among the unanswered that it asks about.
                asked = intent.operation
                facts = self._describe(asked.op, asked.source, asked.after)
                data = messages.report(asked.op, intent.id, facts)
                self._pending.answer(self._pending.add(request), data)
            elif intent.frame:
                self._admit(intent.frame, request)
        except messages.BadRequest as error:
            request.id = error.id
            self._reject(request, Rejection(error.refusal, str(error)))
        except Exception:
            # Whatever arrives must cost that request, not the daemon.
            LOG.exception("a request of %d parts could not be handled", count - length)
            self._reject(request, Rejection(Refusal.INTERNAL, "the daemon failed at it; see its log"))

    def _admit(self, frame: Frame, request: Request) -> None:
        request.request_id = self._pending.add(request)
        frame = replace(frame, request_id=request.request_id, peer=request.peer)
        places_kept = self._retries.places_kept(request.peer, frame.received)
        rejection = self._admission.admit(frame, places_kept, self._retries.others(request.peer))
        if rejection is None:
            self._retries.admit(request.peer)
        elif rejection.refusal is not Refusal.BUSY or not self._retries.hold(request, frame.received):
            self._reject(request, rejection)

    def _send_due_rejections(self) -> None:
        for request in self._retries.due(time.monotonic()):
            rejection = self._admission.busy(len(self._frame_queue), self._retries.others(request.peer))
            self._reject(request, rejection, was_held=True)

    def _reject(self, request: Request, rejection: Rejection, was_held: bool = False) -> None:
        if rejection.retry_ms is not None:
            self._retries.tell(request.peer, time.monotonic() + rejection.retry_ms / 1000, was_held)
        self._pending.reject(request.request_id or self._pending.add(request), rejection)

    def _send_outbox(self) -> None:
        while self._outbox:
            _, message = self._outbox.popleft()
            if isinstance(message, EventMessage):
                self._publish(event_topic(message.source), msgspec.json.encode(message))
            elif not message.is_own:
                self._send(message)

    def _send(self, result: Result) -> None:
        data = self._pending.encode(result) if result.ok and self._publisher else b""
        self._pending.deliver(result, data)
        if data:
            self._publish(messages.topic(result.source), data)

    def _publish(self, topic: bytes, data: bytes) -> None:
        if self._publisher:
            self._publisher.send_multipart([topic, data], zmq.NOBLOCK)

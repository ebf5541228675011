"""The ZeroMQ door: receives frames, answers each exactly once, publishes results. Owns every socket."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
import zmq

from incv3d.config.schema import IntakeSection
from incv3d.frames import Frame, Refusal, Result
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.protocol import messages
from incv3d.protocol.clocks import SenderClocks
from incv3d.protocol.events import EventMessage
from incv3d.protocol.events import topic as event_topic
from incv3d.threads import Activity
from incv3d.transports.admission import Admission, Rejection
from incv3d.transports.recent_peers import RecentPeers
from incv3d.transports.zeromq.arrivals import Arrivals
from incv3d.transports.zeromq.envelope import envelope_length, next_message
from incv3d.transports.zeromq.key_store import KeyStore
from incv3d.transports.zeromq.peer_socket import PeerSocket, address_of
from incv3d.transports.zeromq.replies import Replies, Request
from incv3d.transports.zeromq.retries import RetryLimiter
from incv3d.transports.zeromq.sockets import ServerError, answer_through, hang_up_on_all, listen
from incv3d.transports.zeromq.zap import ZapAuthenticator

__all__ = ["ServerError", "ZmqServer"]

LOG = logging.getLogger(__name__)
RECEIVE_BURST = 64
"""Messages read between two looks at whether the door is closing."""
LAST_BURST = 1000
"""Messages read at the end, each answered `shutting_down`; a flood must not keep the daemon from stopping."""
QUIET_S = 0.2
"""At the end the door stays open until no request has arrived for this time ..."""
SETTLING_S = 1.0
"""... and no longer than this."""
LARGEST_SUBSCRIPTION = 1024
"""Bytes of what a subscriber may send; topics are shorter."""
KEYS_EVERY_S = 1.0
"""How often to look whether a client was revoked, while nothing happens."""
LATELY_S = 60.0
"""`stats` counts the peers that were heard of within so many seconds."""


class ZmqServer:
    """A ROUTER socket for requests and a PUB socket for results, served by one thread.

    :param describe: answers ``ping``, ``stats`` and ``info`` with a dictionary.
    :param identity: model and engine, for the answers; asked for each.
    :param admission: puts a frame in line, or says why not.
    :param on_refused: told of every request that never reached the pipeline.
    :param on_sent: told of every result that has left.
    :param on_death: told the thread's name and the error when the thread cannot go on.
    :param keys: whose clients alone are let in; None: whoever reaches the addresses is.
    """

    def __init__(
        self,
        section: IntakeSection,
        frame_queue: FrameQueue,
        describe: Callable[[messages.Operation], dict[str, Any]],
        identity: Callable[[], tuple[str, str]],
        admission: Admission,
        on_refused: Callable[[Refusal], None],
        on_sent: Callable[[Result], None],
        on_death: Callable[[str, BaseException], None],
        keys: KeyStore | None = None,
    ) -> None:
        self._section = section
        self._frame_queue = frame_queue
        self._describe = describe
        self._identity = identity
        self._admission = admission
        self._on_refused = on_refused
        self._on_sent = on_sent
        self._on_death = on_death
        self.work = Activity("intake", "receiving and answering")
        self._clocks = SenderClocks()
        self._peers = RecentPeers()
        self._outbox: deque[Result | EventMessage] = deque()
        self._closing = threading.Event()
        self._settling_s = SETTLING_S
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._context = zmq.Context()
        self._doorkeeper = ZapAuthenticator(self._context, keys) if keys else None
        self._router = self._context.socket(zmq.ROUTER)
        self._replies = Replies(
            self._router, lambda user: not self._doorkeeper or self._doorkeeper.knows(user)
        )
        self._retries = RetryLimiter()
        self._arrivals = Arrivals(section.arriving_bytes)
        self._publisher = self._context.socket(zmq.PUB) if section.publish else None
        self._thread = threading.Thread(target=self._guard, name=self.work.name, daemon=True)

    def open(self) -> None:
        """Bind both addresses.

        :raises IntakeError: when an address is in use or not this machine's.
        :raises KeyFileError: when the daemon's keys cannot be used.
        """
        if self._doorkeeper:
            self._doorkeeper.open()
            self._doorkeeper.guard(self._router)
            if self._publisher:
                self._doorkeeper.guard(self._publisher)
        for socket in (self._router, self._publisher):
            if socket:
                self._arrivals.watch(self._context, socket)
        answer_through(self._router, self._section.max_message_bytes)
        listen(self._router, self._section.bind, "intake.bind")
        if self._publisher:
            self._publisher.set(zmq.MAXMSGSIZE, LARGEST_SUBSCRIPTION)
            listen(self._publisher, self._section.publish, "intake.publish")

    def start(self) -> None:
        """Begin to receive."""
        self._thread.start()

    def adjust(self, section: IntakeSection) -> None:
        """Handle requests by `section` from now on; its addresses and message sizes are those of before."""
        self._section = section
        self._arrivals.limit_bytes = section.arriving_bytes

    def status(self) -> dict[str, Any]:
        """For ``stats``: what is unanswered, what could not be answered, who was there lately."""
        lately = len(self._peers.since(time.monotonic() - LATELY_S))
        return {
            "queue_depth": len(self._frame_queue),
            "queue_limit": self._section.queue_limit,
            "unanswered": len(self._replies),
            "undelivered": self._replies.undelivered,
            "peers": {"seen": lately, "waiting": self._frame_queue.peers, "closed": self._arrivals.closed},
            **({"keys": self._doorkeeper.status()} if self._doorkeeper else {}),
        }

    def reread_keys(self) -> None:
        """Look at every client's key again; callable from any thread."""
        if self._doorkeeper:
            self._doorkeeper.reread()
            self._wake()

    def deliver(self, result: Result) -> None:
        """Answer and publish `result`; callable from any thread."""
        # Without its picture: a queue of answers must not be a queue of pictures.
        self._outbox.append(replace(result, frame=None))
        self._wake()

    def announce(self, announcement: EventMessage, frame: Frame | None = None) -> None:
        """Publish an event after what was delivered before it; callable from any thread."""
        self._outbox.append(announcement)
        self._wake()

    def close(self, timeout_s: float, refusal: Refusal, detail: str) -> bool:
        """Send what is in the outbox, answer what is still open with `refusal`, and close.

        A sender in a loop, which sends its next request when it has an answer, sends it to the next daemon.

        :returns: False when the thread did not end in time; then nothing is closed.
        """
        self._settling_s = min(SETTLING_S, timeout_s / 2)
        self._closing.set()
        self._wake()
        if self._thread.ident:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                return False
            # The thread has ended, in peace or not: its sockets are now this thread's.
            self._send_outbox()
            for request in self._replies.unanswered():
                self._refuse(request, refusal, detail)
            self._replies.send_held(encrypted=self._doorkeeper is not None)
        self._arrivals.close()
        for socket in (self._router, self._publisher):
            if socket:
                socket.close()
        if self._doorkeeper:
            self._doorkeeper.close()
        self._context.term()
        os.close(self._wake_reader)
        os.close(self._wake_writer)
        return True

    def _wake(self) -> None:
        # A pipe full of earlier calls means that the thread is about to wake anyway.
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_writer, b"\0")

    def _guard(self) -> None:
        try:
            self._serve()
        except BaseException as error:  # noqa: BLE001 - a thread's last words: the daemon decides what follows
            self._on_death(self.work.name, error)

    def _serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._wake_reader, zmq.POLLIN)
        for monitor in self._arrivals.monitors:
            poller.register(monitor, zmq.POLLIN)
        if self._doorkeeper:
            poller.register(self._doorkeeper.questions, zmq.POLLIN)
        while not self._closing.is_set():
            ready = dict(poller.poll(self._longest_wait_ms()))
            with self.work:
                if self._wake_reader in ready:
                    os.read(self._wake_reader, 4096)
                if self._doorkeeper:
                    self._look_at_keys(self._doorkeeper)
                self._send_outbox()
                self._send_due_refusals()
                if self._router in ready:
                    self._receive_burst(RECEIVE_BURST)
                self._arrivals.look(time.monotonic(), ready)
                if self._doorkeeper and self._doorkeeper.questions in ready:
                    self._doorkeeper.decide()
        self._settle()

    def _longest_wait_ms(self) -> int | None:
        now = time.monotonic()
        waits_s = (
            self._retries.wait_s(now),
            self._arrivals.wait_s(now),
            KEYS_EVERY_S if self._doorkeeper else None,
        )
        return min((math.ceil(wait_s * 1000) for wait_s in waits_s if wait_s is not None), default=None)

    def _settle(self) -> None:
        """Receive until every sender in a loop has sent its last request, which is answered at the end."""
        self._replies.hold_all = True
        end = time.monotonic() + self._settling_s
        received = 0
        while received < LAST_BURST:
            self._send_outbox()
            received += self._receive_burst(RECEIVE_BURST)
            left_s = min(QUIET_S, end - time.monotonic())
            if self._all_wait() or left_s <= 0 or not self._router.poll(math.ceil(left_s * 1000)):
                return

    def _all_wait(self) -> bool:
        """Return whether every peer with a recent request waits for its answer."""
        return self._peers.since(time.monotonic() - SETTLING_S) <= self._replies.waiting_peers()

    def _look_at_keys(self, doorkeeper: ZapAuthenticator) -> None:
        if doorkeeper.look() and self._publisher:
            # Whom a result goes to cannot be chosen: all must come in again, and those revoked will not.
            hang_up_on_all(self._publisher, self._section.publish, "intake.publish")

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
        if self._doorkeeper:
            user = self._doorkeeper.admit(request.peer, parts[0])
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
                data = messages.report(intent.operation, intent.id, self._describe(intent.operation))
                self._replies.send(self._replies.add(request), data)
            elif intent.frame:
                self._admit(intent.frame, request)
        except messages.BadRequest as error:
            request.id = error.id
            self._refuse(request, error.refusal, str(error))
        except Exception:
            # Whatever somebody sent must cost that request, not the daemon.
            LOG.exception("a request of %d parts could not be handled", count - length)
            self._refuse(request, Refusal.INTERNAL, "the daemon failed at it; see its log")

    def _admit(self, frame: Frame, request: Request) -> None:
        frame = replace(frame, request_id=self._replies.add(request), peer=request.peer)
        places_kept = self._retries.places_kept(request.peer, frame.received)
        denial = self._admission.admit(frame, places_kept, self._retries.others(request.peer))
        if denial is None:
            self._retries.admit(request.peer)
        elif denial.refusal is not Refusal.BUSY or not self._retries.hold(request, frame.received):
            self._deny(denial, request)

    def _deny(self, denial: Rejection, request: Request, was_held: bool = False) -> None:
        if denial.retry_ms is not None:
            self._retries.tell(request.peer, time.monotonic() + denial.retry_ms / 1000, was_held)
        self._refuse(request, denial.refusal, denial.detail, denial.retry_ms)

    def _send_due_refusals(self) -> None:
        for request in self._retries.due(time.monotonic()):
            denial = self._admission.busy(len(self._frame_queue), self._retries.others(request.peer))
            self._deny(denial, request, was_held=True)

    def _refuse(self, request: Request, refusal: Refusal, detail: str, retry_ms: int | None = None) -> None:
        self._on_refused(refusal)
        data = messages.refuse(refusal, detail, request.id, len(self._frame_queue), retry_ms)
        self._replies.send(self._replies.add(request), data, is_last=refusal is Refusal.SHUTTING_DOWN)

    def _send_outbox(self) -> None:
        while self._outbox:
            message = self._outbox.popleft()
            if isinstance(message, EventMessage):
                self._publish(event_topic(message.source), msgspec.json.encode(message))
                continue
            if not message.is_own:
                self._send(message)
            self._on_sent(message)

    def _send(self, result: Result) -> None:
        data = messages.answer(result, *self._identity(), len(self._frame_queue))
        if result.request_id is not None and result.source == messages.SOURCE:
            self._replies.send(result.request_id, data, is_last=result.refusal is Refusal.SHUTTING_DOWN)
        if result.ok:
            self._publish(messages.topic(result.source), data)

    def _publish(self, topic: bytes, data: bytes) -> None:
        if self._publisher:
            self._publisher.send_multipart([topic, data], zmq.NOBLOCK)

"""The ZeroMQ door: receives frames, answers each exactly once, publishes results. Owns every socket."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import zmq

from incv3d import wire
from incv3d.config import IntakeSection
from incv3d.errors import Incv3dError
from incv3d.frames import Frame, FrameId, Refusal, Result
from incv3d.mailbox import Mailbox

LOG = logging.getLogger(__name__)
RECEIVE_BURST = 64
"""Messages read between two looks at the outbox, so that a flood of requests cannot hold up answers."""
LAST_BURST = 1000
"""Messages read at the end, each answered `shutting_down`; a flood must not keep the daemon from stopping."""
RECEIVE_HIGH_WATER_MARK = 4
"""Messages that ZeroMQ may hold for one peer before TCP pushes back; requests wait in the mailbox instead."""
SEND_HIGH_WATER_MARK = 1000
"""Answers and results that ZeroMQ may hold for one peer that does not read; further ones are dropped."""
LINGER_MS = 1000
"""How long closing waits for the last answers to leave the machine."""


class IntakeError(Incv3dError):
    """The door cannot be opened."""


class Intake:
    """A ROUTER socket for requests and a PUB socket for results, served by one thread.

    :param describe: answers ``ping``, ``stats`` and ``info`` with a dictionary.
    :param identity: model and engine, for the answers; asked for each.
    :param on_refused: told of every request that never reached the pipeline.
    :param on_death: told the thread's name and the error when the thread cannot go on.
    """

    def __init__(
        self,
        section: IntakeSection,
        mailbox: Mailbox,
        describe: Callable[[wire.Operation], dict[str, Any]],
        identity: Callable[[], tuple[str, str]],
        on_refused: Callable[[Refusal], None],
        on_death: Callable[[str, Exception], None],
    ) -> None:
        self._section = section
        self._mailbox = mailbox
        self._describe = describe
        self._identity = identity
        self._on_refused = on_refused
        self._on_death = on_death
        self._waiting: dict[int, list[bytes]] = {}  # the envelope under which each answer is sent
        self._tickets = itertools.count(1)
        self._outbox: deque[Result] = deque()
        self._closing = threading.Event()
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._context = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._publisher = self._context.socket(zmq.PUB) if section.publish else None
        self._thread = threading.Thread(target=self._guard, name="intake", daemon=True)

    def open(self) -> None:
        """Bind both addresses.

        :raises IntakeError: when an address is in use or not this machine's.
        """
        router = self._router
        router.set(zmq.RCVHWM, RECEIVE_HIGH_WATER_MARK)
        router.set(zmq.SNDHWM, SEND_HIGH_WATER_MARK)
        router.set(zmq.LINGER, LINGER_MS)
        # Cut off before the whole message is in memory; up to half of this it is answered politely.
        router.set(zmq.MAXMSGSIZE, 2 * self._section.max_message_bytes)
        # A peer that reconnects under its own name takes that name over, instead of being ignored.
        router.set(zmq.ROUTER_HANDOVER, 1)
        # A peer that vanished without a word is noticed, and what is held for it let go.
        router.set(zmq.HEARTBEAT_IVL, 10_000)
        router.set(zmq.HEARTBEAT_TIMEOUT, 30_000)
        self._bind(router, self._section.bind, "intake.bind")
        if self._publisher:
            self._publisher.set(zmq.SNDHWM, SEND_HIGH_WATER_MARK)
            self._publisher.set(zmq.LINGER, 0)
            self._bind(self._publisher, self._section.publish, "intake.publish")

    def start(self) -> None:
        """Begin to receive."""
        self._thread.start()

    def deliver(self, result: Result) -> None:
        """Answer and publish `result`; callable from any thread."""
        self._outbox.append(result)
        self._wake()

    def close(self, timeout_s: float) -> bool:
        """Send what is in the outbox, refuse what still waits, and close; False if that took too long."""
        self._closing.set()
        self._wake()
        if self._thread.ident:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                return False
        for socket in (self._router, self._publisher):
            if socket:
                socket.close()
        self._context.term()
        os.close(self._wake_reader)
        os.close(self._wake_writer)
        return True

    def _bind(self, socket: zmq.Socket[bytes], address: str, key: str) -> None:
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            hint = " (is incv3d running already?)" if error.errno == zmq.EADDRINUSE else ""
            raise IntakeError(f"{key}: cannot listen on {address}: {error.strerror}{hint}") from None

    def _wake(self) -> None:
        # A pipe full of earlier calls means that the thread is about to wake anyway.
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_writer, b"\0")

    def _guard(self) -> None:
        try:
            self._serve()
        except Exception as error:  # noqa: BLE001 - a thread's last words: the daemon decides what follows
            self._on_death("intake", error)

    def _serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._wake_reader, zmq.POLLIN)
        while not self._closing.is_set():
            ready = dict(poller.poll())
            if self._wake_reader in ready:
                os.read(self._wake_reader, 4096)
            self._send_outbox()
            if self._router in ready:
                self._receive_burst()
        self._receive_burst(LAST_BURST)
        self._send_outbox()
        for ticket in list(self._waiting):
            self._reply(ticket, wire.refuse(Refusal.SHUTTING_DOWN, "the daemon is stopping", None, 0))

    def _receive_burst(self, most: int = RECEIVE_BURST) -> None:
        for _ in range(most):
            try:
                parts = self._router.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self._receive(parts)

    def _receive(self, parts: list[zmq.Frame]) -> None:
        now = wire.Clocks(time.monotonic(), time.time())
        envelope_length = 2 if len(parts) > 2 and not len(parts[1]) else 1
        ticket = next(self._tickets)
        self._waiting[ticket] = [part.bytes for part in parts[:envelope_length]]
        body: list[wire.Bytes] = [part.buffer for part in parts[envelope_length:]]
        try:
            if not body:
                raise wire.BadRequest("an empty message")
            intent = wire.parse(body, now, self._section.ttl_ms, self._section.max_message_bytes)
        except wire.BadRequest as error:
            self._refuse(ticket, error.refusal, str(error), error.id)
            return
        if intent.operation:
            self._reply(ticket, wire.report(intent.operation, intent.id, self._describe(intent.operation)))
        elif intent.frame:
            self._admit(replace(intent.frame, ticket=ticket), ticket)

    def _admit(self, frame: Frame, ticket: int) -> None:
        if frame.deadline is not None and frame.deadline <= frame.received:
            self._refuse(ticket, Refusal.EXPIRED, "its time to live had ended when it arrived", frame.id)
            return
        refusal = self._mailbox.offer(frame)
        if refusal is Refusal.BUSY:
            self._refuse(
                ticket, refusal, f"{len(self._mailbox)} frames wait already; send it again later", frame.id
            )
        elif refusal:
            self._refuse(ticket, refusal, "the daemon is stopping", frame.id)

    def _refuse(self, ticket: int, refusal: Refusal, detail: str, id: FrameId) -> None:
        self._on_refused(refusal)
        self._reply(ticket, wire.refuse(refusal, detail, id, len(self._mailbox)))

    def _send_outbox(self) -> None:
        while self._outbox:
            result = self._outbox.popleft()
            data = wire.answer(result, *self._identity(), len(self._mailbox))
            if result.ticket is not None:
                self._reply(result.ticket, data)
            if self._publisher and result.ok:
                self._publisher.send_multipart([wire.topic(result.source), data], zmq.NOBLOCK)

    def _reply(self, ticket: int, data: bytes) -> None:
        envelope = self._waiting.pop(ticket)
        try:
            self._router.send_multipart([*envelope, data], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            # The peer is gone, or does not read: its answer has nowhere to go.
            LOG.debug("an answer could not be sent: %s", error.strerror)

"""Receive the results and events that a daemon publishes."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Generator
from dataclasses import dataclass

import msgspec
import zmq
from zmq.utils.monitor import recv_monitor_message

from incv3d.client.connection import ClientError, NoAnswer, wait_ms
from incv3d.client.daemon_address import RESULTS_PORT, connect_address, is_ipv6
from incv3d.client.handshake import FAILED_HANDSHAKE, HandshakeMonitor
from incv3d.protocol import messages
from incv3d.protocol.curve_keys import read_client_key
from incv3d.protocol.events import EventMessage, topic
from incv3d.protocol.keepalive import keep_alive

DEFAULT_RESULTS = "tcp://127.0.0.1:5556"
EVENTS = zmq.Event.HANDSHAKE_SUCCEEDED | FAILED_HANDSHAKE
HIGH_WATER_MARK = 100
"""Maximum number of messages queued for a slow subscriber; further ones are dropped."""


@dataclass(frozen=True, slots=True)
class Published:
    """A published result."""

    source: str
    """``zmq`` for frames from clients, else the name of the daemon's own source, or ``NAME.REGION``."""
    answer: messages.Answer


def results(
    address: str = DEFAULT_RESULTS,
    source: str | None = None,
    timeout_s: float | None = None,
    *,
    key: str | os.PathLike[str] | None = None,
) -> Generator[Published, None, None]:
    """Yield every result that the daemon publishes, from the first ``next()`` until the loop ends.

    :param address: the daemon's publishing address: ``pi.local``, or as in its ``intake.publish``.
    :param source: only results of this source, including its regions; None: all.
    :param timeout_s: maximum pause between two results; None: wait forever, even if the daemon is away.
    :param key: the file made by ``incv3d keys add``, for a daemon that uses keys.
    :raises NoAnswer: nothing was published for `timeout_s`.
    :raises NoEntry: the daemon requires a key, or rejects this one.
    :raises KeyFileError: the key cannot be used.
    :raises ClientError: the address is not valid.
    """
    for found, data in _published(address, messages.topic(""), source, timeout_s, key):
        yield Published(found, msgspec.json.decode(data, type=messages.Answer))


def events(
    address: str = DEFAULT_RESULTS,
    source: str | None = None,
    timeout_s: float | None = None,
    *,
    key: str | os.PathLike[str] | None = None,
) -> Generator[EventMessage, None, None]:
    """Yield every label that enters or leaves, as configured in the daemon's ``events`` section.

    Parameters and errors are those of :func:`results`. The labels that are present at the beginning are in
    the answer to ``stats``, under ``events.present``.
    """
    for _, data in _published(address, topic(""), source, timeout_s, key):
        yield msgspec.json.decode(data, type=EventMessage)


def _published(
    address: str,
    prefix: bytes,
    source: str | None,
    timeout_s: float | None,
    key: str | os.PathLike[str] | None,
) -> Generator[tuple[str, bytes], None, None]:
    """Yield source and bytes of every message whose topic is `prefix` and a source."""
    client_key = read_client_key(key) if key else None
    address = connect_address(address, RESULTS_PORT)
    entry = HandshakeMonitor(address, client_key)
    with zmq.Context() as context, context.socket(zmq.SUB) as subscriber, contextlib.ExitStack() as stack:
        subscriber.set(zmq.IPV6, is_ipv6(address))
        subscriber.set(zmq.LINGER, 0)
        subscriber.set(zmq.RCVHWM, HIGH_WATER_MARK)
        subscriber.set(zmq.RECONNECT_IVL_MAX, 1000)
        keep_alive(subscriber)  # it sends nothing, and would not notice that the daemon's machine has gone
        subscriber.set(zmq.SUBSCRIBE, prefix + (source or "").encode())
        if client_key:
            client_key.lock(subscriber)
        monitor = stack.enter_context(subscriber.get_monitor_socket(EVENTS))
        stack.callback(subscriber.disable_monitor)
        try:
            subscriber.connect(address)
        except zmq.ZMQError as error:
            raise ClientError(f"{address}: cannot connect: {error.strerror}") from None
        pause_s = math.inf if timeout_s is None else timeout_s
        while _arrives(subscriber, monitor, entry, time.monotonic() + pause_s):
            topic, data = subscriber.recv_multipart()
            found = topic.removeprefix(prefix).decode()
            # ZeroMQ matches only the beginning of a topic: `door` would also match `door2`.
            if source in (None, found) or found.startswith(f"{source}."):
                yield found, data
        raise NoAnswer(f"nothing was published at {address} within {timeout_s:g} s")


def _arrives(
    subscriber: zmq.Socket[bytes], monitor: zmq.Socket[bytes], entry: HandshakeMonitor, deadline: float
) -> bool:
    poller = zmq.Poller()
    poller.register(subscriber, zmq.POLLIN)
    poller.register(monitor, zmq.POLLIN)
    while True:
        ready = dict(poller.poll(wait_ms(deadline)))
        if monitor in ready:
            message = recv_monitor_message(monitor, zmq.NOBLOCK)
            if message["event"] == zmq.Event.HANDSHAKE_SUCCEEDED:
                entry.succeeded()
            else:
                entry.failed(message["event"], int(message["value"]))
        if subscriber in ready:
            return True
        if time.monotonic() >= deadline:
            return False

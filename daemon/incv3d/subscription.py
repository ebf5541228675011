"""Listen to the results that a daemon publishes."""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from dataclasses import dataclass

import msgspec
import zmq

from incv3d import wire
from incv3d.connection import ClientError, NoAnswer, wait_ms

DEFAULT_RESULTS = "tcp://127.0.0.1:5556"
HIGH_WATER_MARK = 100
"""Results that wait for a subscriber that is slower than the daemon; beyond it the newer ones are dropped."""


@dataclass(frozen=True, slots=True)
class Published:
    """One result as the daemon publishes it."""

    source: str
    """``zmq`` for frames that were sent, else the name of the daemon's own source, or ``NAME.REGION``."""
    answer: wire.Answer


def results(
    address: str = DEFAULT_RESULTS, source: str | None = None, timeout_s: float | None = None
) -> Generator[Published, None, None]:
    """Every result that the daemon publishes from the first ``next()`` on, until the loop is left.

    :param address: as in the daemon's ``intake.publish``.
    :param source: only those of this source; None: of all.
    :param timeout_s: the longest pause between two; None: wait for ever, also for a daemon that is away.
    :raises NoAnswer: nothing was published for `timeout_s`.
    :raises ClientError: the address is none that ZeroMQ can connect to.
    """
    with zmq.Context() as context, context.socket(zmq.SUB) as subscriber:
        subscriber.set(zmq.LINGER, 0)
        subscriber.set(zmq.RCVHWM, HIGH_WATER_MARK)
        subscriber.set(zmq.RECONNECT_IVL_MAX, 1000)
        subscriber.set(zmq.SUBSCRIBE, wire.topic(source or ""))
        try:
            subscriber.connect(address)
        except zmq.ZMQError as error:
            raise ClientError(f"{address}: cannot connect: {error.strerror}") from None
        while _arrives(subscriber, math.inf if timeout_s is None else time.monotonic() + timeout_s):
            topic, data = subscriber.recv_multipart()
            found = topic.decode().removeprefix(wire.topic("").decode())
            # ZeroMQ compares the beginnings of topics alone: `door` would bring `door2` with it.
            if source in (None, found):
                yield Published(found, msgspec.json.decode(data, type=wire.Answer))
        raise NoAnswer(f"nothing was published at {address} within {timeout_s:g} s")


def _arrives(subscriber: zmq.Socket[bytes], deadline: float) -> bool:
    while not (arrived := subscriber.poll(wait_ms(deadline))) and time.monotonic() < deadline:
        pass
    return bool(arrived)

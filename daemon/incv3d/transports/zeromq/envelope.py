"""The envelope of a request: the parts that route its answer back to the sender, through any proxies."""

from __future__ import annotations

from collections.abc import Sequence

import zmq

MOST_PARTS = 64
"""The most parts of a request. Each proxy adds one."""
LARGEST_PART = 255
"""Bytes of a routing id (zmq_setsockopt(3), ZMQ_ROUTING_ID), the longest part of an envelope."""
MADE_UP_ID = 5
"""Bytes of a routing id that a ROUTER makes up. The first is 0, with which no header and no image begins."""


def next_message(router: zmq.Socket[bytes]) -> tuple[list[zmq.Frame], int]:
    """Return the first parts of the next message, at most :data:`MOST_PARTS`, and how many it had.

    :raises zmq.Again: no message has arrived.
    """
    parts: list[zmq.Frame] = []
    count = 0
    more = True
    while more:
        part = router.recv(zmq.NOBLOCK, copy=False)
        more = part.more
        count += 1
        if count <= MOST_PARTS:
            parts.append(part)
    return parts, count


def envelope_length(parts: Sequence[zmq.Frame], count: int) -> int:
    """Return how many of the first parts of a message are its envelope.

    These are all parts up to the first empty one, included: a REQ socket sends one, after its request id
    where it has ``REQ_CORRELATE``, and proxies put routing ids before it. A DEALER socket need not send one;
    then the envelope is its routing id and those of the proxies. The last part belongs to the request.

    :param parts: the message's first parts, at most :data:`MOST_PARTS`.
    :param count: how many parts the message has.
    """
    inner = parts[: count - 1]
    for number, part in enumerate(inner[1:], 1):
        if not len(part):
            return number + 1
        if len(part) > LARGEST_PART:
            break
    length = 1
    while length < len(inner) and len(inner[length]) == MADE_UP_ID and not inner[length].buffer[0]:
        length += 1
    return length

"""A frame as it comes from the broker: the picture, and what its sender says of it in user properties.

Properties that are none of ours are somebody else's, and ignored. MQTT's own response topic, correlation data
and message expiry do what MQTT says.
"""

from __future__ import annotations

from dataclasses import replace

from incv3d.frames import Frame, Refusal
from incv3d.protocol import messages
from incv3d.protocol.text_header import parse_text_request
from incv3d.transports.mqtt.message import LARGEST_PROPERTIES, Message

LONGEST_ID = 200


def frame_of(message: Message, now: messages.Clocks, default_ttl_ms: float, max_bytes: int) -> Frame:
    """Read one request.

    :param now: when it was received.
    :param default_ttl_ms: for requests that name none; 0: for ever.
    :param max_bytes: a longer picture is refused.
    :raises BadRequest: with what is wrong, for the sender.
    """
    words, picture = message.properties, message.payload
    if message.properties_bytes > LARGEST_PROPERTIES:
        detail = f"properties of {message.properties_bytes} bytes, at most {LARGEST_PROPERTIES} are admitted"
        raise messages.BadRequest(detail, id_of(message), Refusal.TOO_LARGE)
    frame = parse_text_request(
        words, picture, messages.BROKER_SOURCE, "user properties", now, default_ttl_ms, max_bytes
    )
    if message.expiry_s is None:
        return frame
    end = now.monotonic + message.expiry_s
    return replace(frame, deadline=end if frame.deadline is None else min(frame.deadline, end))


def id_of(message: Message) -> str | None:
    """Return the id that its answer hands back, unless it is longer than one may be."""
    found = message.properties.get("id")
    return found if found is None or len(found) <= LONGEST_ID else None

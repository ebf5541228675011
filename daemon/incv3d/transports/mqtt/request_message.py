"""Read a frame from a message: the image, and its header in user properties.

Unknown properties are ignored. MQTT's own response topic, correlation data and message expiry have their
usual meaning.
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
    :param default_ttl_ms: the time to live of requests that name none; 0: forever.
    :param max_bytes: the size limit for the image.
    :raises BadRequest: it is invalid; the message tells the sender why.
    """
    header, image = message.properties, message.payload
    if message.properties_bytes > LARGEST_PROPERTIES:
        detail = f"properties of {message.properties_bytes} bytes exceed the limit of {LARGEST_PROPERTIES}"
        raise messages.BadRequest(detail, id_of(message), Refusal.TOO_LARGE)
    frame = parse_text_request(
        header, image, messages.BROKER_SOURCE, "user properties", now, default_ttl_ms, max_bytes
    )
    if message.expiry_s is None:
        return frame
    end = now.monotonic + message.expiry_s
    return replace(frame, deadline=end if frame.deadline is None else min(frame.deadline, end))


def id_of(message: Message) -> str | None:
    """Return the id for the answer, unless it is too long for one."""
    found = message.properties.get("id")
    return found if found is None or len(found) <= LONGEST_ID else None

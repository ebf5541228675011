"""A frame as it comes from the broker: the picture, and what its sender says of it in user properties.

The payload is the picture. Its user properties are those of the native ZeroMQ header that the sender wants to
give: ``id``, ``encoding``, ``width``, ``height``, ``captured_at``, ``ttl_ms``, ``top_k``; others are somebody
else's, and ignored. MQTT's own response topic, correlation data and message expiry do what MQTT says.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from incv3d import wire
from incv3d.frames import Frame, picture_format
from incv3d.mqtt.message import Message

KEYS = frozenset(wire.Header.__struct_fields__) - {"v"}


def frame_of(message: Message, now: wire.Clocks, default_ttl_ms: float, max_bytes: int) -> Frame:
    """Read one request.

    :param now: when it was received.
    :param default_ttl_ms: for requests that name none; 0: for ever.
    :param max_bytes: a longer picture is refused.
    :raises BadRequest: with what is wrong, for the sender.
    """
    said = {key: value for key, value in message.properties.items() if key in KEYS}
    said.setdefault("encoding", picture_format(message.payload) or "jpeg")
    try:
        header = msgspec.convert({"v": 1, **said}, wire.Header, strict=False)
    except msgspec.ValidationError as error:
        raise wire.BadRequest(f"user properties: {error}", said.get("id")) from None
    header.id = said.get("id")
    parts: list[wire.Bytes] = [msgspec.json.encode(header), message.payload]
    frame = wire.parse(parts, now, default_ttl_ms, max_bytes).frame
    assert frame
    deadline = frame.deadline
    if message.expiry_s is not None:
        end = now.monotonic + message.expiry_s
        deadline = end if deadline is None else min(deadline, end)
    return replace(frame, source=wire.BROKER_SOURCE, deadline=deadline)

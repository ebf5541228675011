"""A request with its header in words: the user properties of an MQTT message, the query of a URL.

The words are those of the native ZeroMQ header that a sender wants to give: ``id``, ``encoding``, ``width``,
``height``, ``captured_at``, ``age_ms``, ``ttl_ms``, ``top_k``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from incv3d.frames import Frame
from incv3d.protocol import messages

KEYS = frozenset(messages.Header.__struct_fields__) - {"v"}


def worded_frame(
    words: Mapping[str, str],
    data: messages.Bytes,
    source: str,
    where: str,
    now: messages.Clocks,
    default_ttl_ms: float,
    max_bytes: int,
) -> Frame:
    """Read one request.

    :param words: may hold others, which are ignored.
    :param data: the picture.
    :param source: which way it came.
    :param where: what holds the words, for complaints.
    :param now: when it was received.
    :param default_ttl_ms: for requests that name none; 0: for ever.
    :param max_bytes: a longer picture is refused.
    :raises BadRequest: with what is wrong, for the sender.
    """
    said = {key: value for key, value in words.items() if key in KEYS}
    said.setdefault("encoding", "jpeg")  # or whichever its first bytes tell
    try:
        header = msgspec.convert({"v": 1, **said}, messages.Header, strict=False)
    except msgspec.ValidationError as error:
        raise messages.BadRequest(f"{where}: {error}", said.get("id")) from None
    header.id = said.get("id")
    frame = messages.parse([msgspec.json.encode(header), data], now, default_ttl_ms, max_bytes).frame
    assert frame
    return replace(frame, source=source)

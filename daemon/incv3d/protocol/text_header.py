"""Parse a request whose header is text: user properties of an MQTT message, or the query of a URL.

The keys are those of the native ZeroMQ header: ``id``, ``encoding``, ``width``, ``height``, ``captured_at``,
``age_ms``, ``ttl_ms``, ``top_k``, ``base_top_k``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from incv3d.frames import Frame
from incv3d.protocol import messages

KEYS = frozenset(messages.Header.__struct_fields__) - {"v"}


def parse_text_request(
    fields: Mapping[str, str],
    data: messages.Bytes,
    source: str,
    where: str,
    now: messages.Clocks,
    default_ttl_ms: float,
    max_bytes: int,
) -> Frame:
    """Parse one request.

    :param fields: the header; unknown keys are ignored.
    :param data: the image.
    :param source: the source name of the transport.
    :param where: where the header came from, for error messages.
    :param now: time of receipt.
    :param default_ttl_ms: for requests without one; 0: no limit.
    :param max_bytes: larger images are rejected.
    :raises BadRequest: the request is invalid; the text is for the sender.
    """
    given = {key: value for key, value in fields.items() if key in KEYS}
    given.setdefault("encoding", "jpeg")  # the first bytes of an encoded image determine its format
    try:
        header = msgspec.convert({"v": 1, **given}, messages.Header, strict=False)
    except msgspec.ValidationError as error:
        raise messages.BadRequest(f"{where}: {messages.explain(error)}", given.get("id")) from None
    header.id = given.get("id")
    frame = messages.parse([msgspec.json.encode(header), data], now, default_ttl_ms, max_bytes).frame
    assert frame
    return replace(frame, source=source)

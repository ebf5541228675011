"""Read the body of a request within limits of size and time."""

from __future__ import annotations

import asyncio

from aiohttp import web

from incv3d.frames import Refusal
from incv3d.protocol import messages


async def read_body(request: web.Request, max_bytes: int, limit_s: float, what: str) -> memoryview:
    """Return the body of `request`, decompressed; never more than `max_bytes` of it is in memory.

    :param limit_s: seconds until all of it must have arrived.
    :param what: the name of the body in error messages (``the image``).
    :raises BadRequest: the body is too long, too slow or broken.
    """
    if (length := request.content_length or 0) > max_bytes:
        raise messages.BadRequest(f"{length} bytes exceed the limit of {max_bytes}", None, Refusal.TOO_LARGE)
    data = bytearray()
    try:
        async with asyncio.timeout(limit_s):
            async for part in request.content.iter_any():
                data += part
                if len(data) > max_bytes:
                    raise messages.BadRequest(
                        f"more than the limit of {max_bytes} bytes", None, Refusal.TOO_LARGE
                    )
    except TimeoutError:
        raise messages.BadRequest(f"{what} did not arrive within {limit_s:g} s") from None
    except web.RequestPayloadError:
        if encoding := request.headers.get("Content-Encoding", ""):
            raise messages.BadRequest(
                f"the body is not `{encoding[:40]}`, as its Content-Encoding says"
            ) from None
        raise messages.BadRequest("the body is cut off") from None
    return memoryview(data)  # not a copy: an image may be tens of megabytes

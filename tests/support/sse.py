"""A viewer of the page that is no browser: reads server-sent events."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from processes import PATIENCE_S


class Viewer:
    """Looks at the page at `url` until it is closed."""

    def __init__(self, url: str, **headers: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_S)
        self._connection.request("GET", "/live", headers=headers)
        self.answer = self._connection.getresponse()

    def events(self) -> Iterator[tuple[str, Any]]:
        """Names and data, as they come; ends when the daemon ends it. Who waits in vain is told so."""
        name = ""
        deadline = time.monotonic() + PATIENCE_S
        while line := self.answer.readline():
            assert time.monotonic() < deadline, "what was waited for is not among the events"
            field, _, value = line.decode().rstrip("\n").partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                yield name, json.loads(value)

    def next(self, name: str) -> Any:
        """The data of the next event that is called so."""
        return next(data for each, data in self.events() if each == name)

    def close(self) -> None:
        self.answer.close()
        self._connection.close()

"""POST an image to a daemon."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from incv3d.images.demo import demo_folder
from processes import PATIENCE_S

CAT = (demo_folder() / "cat.jpg").read_bytes()


LIMIT = 1_000_000


def post(url: str, body: Any, query: str = "", **headers: str) -> tuple[int, dict[str, Any], Any]:
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_S)) as connection:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", f"/classify{query}", body, given)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), answer.headers

"""What a browser asks of the teaching set, over real HTTP, and what it is told if that cannot be."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from doubles import jpeg
from incv3d.app.state import DaemonState
from incv3d.app.teacher import DaemonTeacher
from incv3d.config.network import HttpSection
from incv3d.config.schema import Config
from incv3d.frames import image_format
from incv3d.models.store import ModelStore
from incv3d.pipeline.latest_frames import LatestFrames
from incv3d.transports.http.server import HttpServer
from incv3d.transports.http.webui.teaching import LARGEST_REQUEST, TeachingRoutes

LARGEST_PICTURE = 100_000


class Browser:
    """Sends requests to a server, as the page does."""

    def __init__(self, url: str) -> None:
        self._address = url.removeprefix("http://")

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        with closing(http.client.HTTPConnection(self._address, timeout=20)) as connection:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def post(self, path: str, **order: object) -> tuple[int, Any]:
        status, body = self.ask("POST", path, json.dumps(order).encode())
        return status, json.loads(body)

    def get(self, path: str) -> Any:
        status, body = self.ask("GET", path)
        assert status == 200, body
        return json.loads(body)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """A browser at the page of a daemon with an empty store."""
    deaths: list[str] = []

    def died(thread: str, error: BaseException) -> None:
        deaths.append(f"{thread}: {error!r}")

    frames = LatestFrames()
    teacher = DaemonTeacher(DaemonState(Config()), ModelStore(tmp_path), frames, lambda event: None, died)
    routes = TeachingRoutes(teacher, LARGEST_PICTURE)
    server = HttpServer(HttpSection(bind="127.0.0.1:0"), routes.routes(), died, routes.close)
    server.open()
    server.start()
    yield Browser(server.url)
    assert server.close(20)
    assert not deaths


def test_the_page_is_there_before_anything_was_taught(browser: Browser) -> None:
    status, page = browser.ask("GET", "/teach")
    assert status == 200 and b"<title>Teach incv3d</title>" in page
    assert browser.get("/teach/state")["name"] == ""
    assert browser.get("/teach/review") == []


def test_every_change_is_answered_with_the_new_state(browser: Browser) -> None:
    assert browser.post("/teach/begin", name="mine")[1]["name"] == "mine"
    status, body = browser.ask("POST", "/teach/pictures?class=empty", jpeg(seed=1))
    assert status == 200 and json.loads(body)["classes"] == [{"name": "empty", "pictures": 1}]
    [picture] = browser.get("/teach/pictures?class=empty")
    status, preview = browser.ask("GET", f"/teach/picture/{picture['id']}")
    assert status == 200 and image_format(preview) == "jpeg"
    moved = {"ids": [picture["id"]], "class": "full"}
    assert browser.post("/teach/move", **moved)[1]["classes"] == [{"name": "full", "pictures": 1}]
    assert browser.post("/teach/delete", ids=[picture["id"]])[1]["classes"] == []
    assert browser.ask("GET", f"/teach/picture/{picture['id']}")[0] == 204
    assert browser.post("/teach/undo")[1]["classes"] == [{"name": "full", "pictures": 1}]


@pytest.mark.parametrize(
    ("path", "order", "said"),
    [
        ("capture", {"source": "camera", "class": "empty"}, "camera has had no new frame for 5 s"),
        ("move", {"ids": []}, "`class` is missing"),
        ("move", {"ids": ["nothing"], "class": "full"}, "no picture 'nothing'"),
        ("delete", {"ids": ["../../facts.json"]}, "no picture"),
        ("undo", {}, "nothing to undo"),
        ("review", {"ids": ["review-7"], "class": "full"}, "does not wait"),
        ("use", {}, "no taught model `mine`"),
        ("begin", {"name": "../x"}, "not a valid model name"),
    ],
)
def test_what_cannot_be_done_is_one_clear_line_and_changes_nothing(
    browser: Browser, path: str, order: dict[str, object], said: str
) -> None:
    browser.post("/teach/begin", name="mine")
    before = browser.get("/teach/state")
    status, answer = browser.post(f"/teach/{path}", **order)
    assert status == 409 and said in answer["detail"] and "\n" not in answer["detail"]
    assert browser.get("/teach/state") == before


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("move", b"no JSON"),
        ("move", b'{"ids": 7}'),
        ("capture", b"{}"),
        ("undo", b'{"all": true}'),
        ("move", b'{"ids": ["' + b"x" * LARGEST_REQUEST + b'"]}'),
        ("pictures?class=empty", bytes(LARGEST_PICTURE + 1)),
    ],
)
def test_what_is_no_request_is_refused(browser: Browser, path: str, body: bytes) -> None:
    status, answer = browser.ask("POST", f"/teach/{path}", body)
    assert status == 400 and json.loads(answer)["detail"]


def test_pages_of_other_sites_cannot_teach(browser: Browser) -> None:
    headers = {"Origin": "http://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    assert browser.ask("POST", "/teach/begin", b'{"name": "mine"}', **headers)[0] == 403
    assert browser.get("/teach/state")["name"] == ""

"""What viewers of the page are told, by the real daemon over real HTTP."""

from __future__ import annotations

import io
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

from incv3d.client import Client
from incv3d.images.demo import demo_folder
from incv3d.transports.http.webui.broadcast import MOST_VIEWERS
from processes import PATIENCE_S, DaemonProcess
from sse import Viewer

CAT = demo_folder() / "cat.jpg"


def get(url: str) -> tuple[int, bytes, dict[str, str]]:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), dict(error.headers)


@pytest.fixture(scope="module")
def demo(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a daemon that shows its bundled photographs."""
    folder = tmp_path_factory.mktemp("demo")
    config = folder / "incv3d.yaml"
    regions = {"left": [0, 0, 0.5, 1], "all": [0, 0, 1, 1]}
    events = {"allow": ["*"], "threshold": 0.3, "frames": 1, "needed": 1}
    config.write_text(
        json.dumps({"http": {"bind": "127.0.0.1:0"}, "source": {"regions": regions}, "events": events})
    )
    daemon = DaemonProcess(state, folder, "--config", str(config), "--demo")
    url = daemon.url()
    daemon.ready()
    yield url
    assert daemon.stop() == 0


@pytest.fixture(scope="module")
def fast(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a daemon whose camera gives 30 pictures a second."""
    folder = tmp_path_factory.mktemp("fast")
    config = folder / "incv3d.yaml"
    regions = {"left": [0, 0, 0.5, 1], "all": [0, 0, 1, 1]}
    source = {"type": "images", "path": str(CAT), "name": "cat", "fps": 30, "regions": regions}
    config.write_text(json.dumps({"http": {"bind": "127.0.0.1:0"}, "source": source}))
    daemon = DaemonProcess(state, folder, "--config", str(config))
    url = daemon.url()
    daemon.ready()
    yield url
    assert daemon.stop() == 0


def test_a_viewer_is_told_results_run_times_events_and_how_the_daemon_is(demo: str) -> None:
    with closing(Viewer(demo)) as viewer:
        found = {}
        for name, data in viewer.events():
            found[name] = data
            if found.keys() >= {"hello", "result", "runs", "event", "facts"} and found["runs"]:
                break
    assert found["hello"]["host"] == socket.gethostname() and found["hello"]["events_wanted"]
    assert abs(found["hello"]["now"] - time.time()) < PATIENCE_S
    result = found["result"]
    assert result["source"] in ("demo.left", "demo.all") and result["has_picture"]
    assert result["region"] == ([0, 0, 0.5, 1] if result["source"] == "demo.left" else [0, 0, 1, 1])
    scores = [prediction["score"] for prediction in result["predictions"]]
    assert len(scores) == 5 and scores == sorted(scores, reverse=True)
    at, run_ms = found["runs"][-1]
    assert abs(at - time.time()) < PATIENCE_S and run_ms > 0
    assert found["facts"]["state"] == "ready" and found["facts"]["source"]["name"] == "demo"
    assert found["event"]["event"] in ("entered", "left")


def test_what_was_before_somebody_looked_is_told_at_once(demo: str) -> None:
    with closing(Viewer(demo)) as first:
        first.next("event")
        first.next("runs")
    with closing(Viewer(demo)) as second:
        names = []
        for name, _ in second.events():
            names.append(name)
            if name == "facts":
                break
    assert names[:2] == ["hello", "runs"] and {"event", "result"} <= set(names)


def test_the_picture_of_a_source_says_which_result_it_belongs_to(demo: str) -> None:
    with closing(Viewer(demo)) as viewer:
        told = {}
        for name, data in viewer.events():
            if name == "result" and data["source"] == "demo.left":
                told[data["number"]] = data
                status, body, headers = get(f"{demo}/picture/demo.left")
                assert status == 200 and headers["Content-Type"] == "image/jpeg"
                assert headers["Cache-Control"] == "no-store"
                Image.open(io.BytesIO(body)).load()
                if int(headers["X-Result"]) in told:
                    break


def test_of_each_source_no_more_than_two_pictures_a_second_are_made(fast: str) -> None:
    """However often they are asked for: each picture made has the number of its result."""
    with closing(Viewer(fast)) as viewer:
        viewer.next("result")
        seen: dict[str, set[tuple[str, bytes]]] = {"cat.left": set(), "cat.all": set()}
        began = time.monotonic()
        while time.monotonic() - began < 2.0:
            for source, pictures in seen.items():
                status, body, headers = get(f"{fast}/picture/{source}")
                if status == 200:
                    pictures.add((headers["X-Result"], body))
        most = 2 * (time.monotonic() - began) + 2
    assert all(1 < len(pictures) <= most for pictures in seen.values()), {k: len(v) for k, v in seen.items()}


def test_a_source_that_is_not_there_has_no_picture(demo: str) -> None:
    with closing(Viewer(demo)) as viewer:
        viewer.next("result")
        for source in ("nobody", "..%2f..%2fetc%2fpasswd"):
            assert get(f"{demo}/picture/{source}")[:2] == (204, b"")


def test_while_nobody_looks_there_is_no_picture(demo: str) -> None:
    with closing(Viewer(demo)) as viewer:
        viewer.next("result")
    deadline = time.monotonic() + PATIENCE_S
    while get(f"{demo}/picture/demo.left")[0] != 204:  # until the daemon sees that the viewer is gone
        assert time.monotonic() < deadline


def test_an_event_has_a_thumbnail_of_what_came(demo: str) -> None:
    with closing(Viewer(demo)) as viewer:
        shown = next(data for name, data in viewer.events() if name == "event" and data["has_thumbnail"])
    assert shown["event"] == "entered"
    status, body, _ = get(f"{demo}/thumbnail/{shown['number']}")
    width, height = Image.open(io.BytesIO(body)).size
    assert status == 200 and max(width, height) == 128
    if shown["source"] == "demo.left":
        assert width < height, "of a region it is the region"


@pytest.mark.parametrize(
    "path",
    ["thumbnail/999999", "thumbnail/x", "page/../live"],
)
def test_what_is_not_there_is_not_found(demo: str, path: str) -> None:
    assert get(f"{demo}/{path}")[0] == 404


@pytest.mark.parametrize("path", ["live", "picture/camera", "page/main.js", "healthz", "metrics", ""])
def test_the_answer_to_head_has_no_body(demo: str, path: str) -> None:
    host = urlsplit(demo)
    with socket.create_connection((host.hostname, host.port), PATIENCE_S) as client:
        for request in (f"HEAD /{path}", "GET /healthz"):
            client.sendall(f"{request} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        said = b""
        while not said.endswith(b"\r\n\r\nok\n"):
            more = client.recv(65536)
            said += more
            assert more and b"event: " not in said, said
    heads = said.removesuffix(b"ok\n").split(b"\r\n\r\n")
    assert len(heads) == 3 and all(head.startswith(b"HTTP/1.1 ") for head in heads[:2]), said


def test_nothing_but_the_files_of_the_page_can_be_had(demo: str) -> None:
    assert get(f"{demo}/page/main.js")[0] == 200
    long = f"page/{300 * 'x'}"  # longer than the name of any file
    for path in ("page/", "page/../messages.py", "page/%2e%2e/messages.py", "page//etc/passwd", long):
        assert get(f"{demo}/{path}")[0] in (403, 404)


def test_so_many_viewers_and_no_more(demo: str) -> None:
    viewers = [Viewer(demo) for _ in range(MOST_VIEWERS + 1)]
    let_in = [viewer for viewer in viewers if viewer.answer.status == 200]
    assert 0 < len(let_in) <= MOST_VIEWERS
    assert all(viewer.next("hello") for viewer in let_in)
    refused = next(viewer for viewer in viewers if viewer.answer.status == 503)
    assert b"close another page" in refused.answer.read()
    for viewer in viewers:
        viewer.close()
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with closing(Viewer(demo)) as later:
            if later.answer.status == 200:
                return
        assert time.monotonic() < deadline, "those that left are still counted"


def test_a_daemon_that_stops_ends_the_stream_and_does_not_wait_for_its_viewers(start) -> None:
    daemon = start("--demo")
    url = daemon.url()
    daemon.ready()
    with closing(Viewer(url)) as viewer:
        viewer.next("result")
        assert daemon.stop() == 0
        for _ in viewer.events():
            pass
    assert not any("did not close" in line for line in daemon.said)


def test_a_viewer_that_reads_nothing_costs_the_daemon_nothing_but_a_connection(start) -> None:
    daemon = start()
    url = daemon.url()
    daemon.ready()
    with closing(Viewer(url)) as asleep, closing(Viewer(url)) as awake, Client(daemon.door) as client:
        asleep.next("hello")
        for _ in range(50):
            client.classify(CAT.read_bytes())
        assert awake.next("result")["source"] == "zmq"


def test_a_picture_that_others_sent_is_shown_too(start) -> None:
    daemon = start()
    url = daemon.url()
    daemon.ready()
    with closing(Viewer(url)) as viewer, Client(daemon.door) as client:
        client.classify(CAT.read_bytes())
        assert viewer.next("result")["source"] == "zmq"
        status, body, _ = get(f"{url}/picture/zmq")
        assert status == 200 and body == CAT.read_bytes(), "a small JPEG comes as it is"


def test_without_the_page_there_are_health_and_metrics_alone(start) -> None:
    daemon = start(http={"bind": "127.0.0.1:0", "page": False})
    url = daemon.url()
    for path in ("", "live", "page/main.js", "login", "picture/zmq"):
        assert get(f"{url}/{path}")[0] == 404
    assert get(f"{url}/healthz")[0] == 200


def test_a_page_on_which_nothing_is_watched_says_so(start) -> None:
    daemon = start("--demo")
    with closing(Viewer(daemon.url())) as viewer:
        assert viewer.next("hello")["events_wanted"] is False

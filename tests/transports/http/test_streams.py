"""Other programs watch what a source sees."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import itertools
import json
import shutil
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import pytest

from daemon_requests import resident_mb
from incv3d.images.demo import demo_folder
from incv3d.transports.http.streams import MOST_VIEWERS
from processes import ScriptedDaemon
from waiting import until

TOKEN = "a-token-of-some-length"
PHOTOGRAPHS = {path.read_bytes() for path in demo_folder().glob("*.jpg")}
Start = Callable[..., ScriptedDaemon]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[ScriptedDaemon] = []
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for path in demo_folder().glob("*.jpg"):
        shutil.copy(path, photographs)

    def make(**source: object) -> ScriptedDaemon:
        (tmp_path / "token").write_text(TOKEN)
        sections = {
            "http": {"bind": "127.0.0.1:0", "token_file": str(tmp_path / "token")},
            "source": {"path": str(photographs), "fps": 20, **source},
        }
        (tmp_path / "incv3d.yaml").write_text(json.dumps(sections))
        started.append(ScriptedDaemon(tmp_path, tmp_path, str(tmp_path / "incv3d.yaml"), "5"))
        started[-1].address = started[-1].url()
        started[-1].ready()
        return started[-1]

    yield make
    for each in started:
        each.kill()


def get(
    daemon: ScriptedDaemon, path: str, user: str = "anybody", word: str = TOKEN
) -> tuple[int, bytes, http.client.HTTPMessage]:
    request = urllib.request.Request(f"{daemon.address}{path}")
    request.add_header("Authorization", f"Basic {base64.b64encode(f'{user}:{word}'.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def test_a_snapshot_is_the_next_frame_byte_for_byte_with_its_age(start: Start) -> None:
    status, jpeg, headers = get(start(), "/snapshot/camera.jpg")
    assert status == 200 and jpeg in PHOTOGRAPHS
    assert int(headers["X-Age-Ms"]) < 10_000 and headers["Cache-Control"] == "no-store"


def test_a_region_is_cut_out_and_its_camera_is_shown_whole(start: Start) -> None:
    daemon = start(regions={"left": [0, 0, 0.5, 1]})
    sizes = {}
    for name in ("camera.left", "camera"):
        _, jpeg, _ = get(daemon, f"/snapshot/{name}.jpg")
        sizes[name] = width_of(jpeg)
    widths = [width_of(each) for each in PHOTOGRAPHS]
    assert sizes["camera"] in widths
    assert any(abs(sizes["camera.left"] - width / 2) <= 1 for width in widths)


def width_of(jpeg: bytes) -> int:
    with av.open(io.BytesIO(jpeg)) as image:
        return next(image.decode(video=0)).width


def test_a_player_reads_the_stream(start: Start) -> None:
    daemon = start()
    url = daemon.address.replace("http://", f"http://anybody:{TOKEN}@")
    with av.open(f"{url}/stream/camera.mjpg", format="mpjpeg", timeout=20) as stream:
        packets = []
        for packet in stream.demux(video=0):
            packets.append(bytes(packet))
            if len(packets) == 8:
                break
    assert set(packets) <= PHOTOGRAPHS and len(set(packets)) > 1


@pytest.mark.parametrize("path", ["/stream/camera.mjpg", "/snapshot/camera.jpg"])
def test_it_needs_the_token_as_the_password(start: Start, path: str) -> None:
    daemon = start()
    status, _, headers = get(daemon, path, word="wrong")
    assert status == 401 and headers["WWW-Authenticate"] == 'Basic realm="incv3d"'
    assert get(daemon, path, user="", word="")[0] == 401


@pytest.mark.parametrize("path", ["/metrics", "/", "/history", "/picture/camera"])
def test_a_password_opens_nothing_else(start: Start, path: str) -> None:
    daemon = start()
    assert get(daemon, "/snapshot/camera.jpg")[0] == 200
    status, _, headers = get(daemon, path)
    assert status == 401 and headers["WWW-Authenticate"] == "Bearer"


def test_frames_that_are_skipped_as_unchanged_are_shown_too(start: Start, tmp_path: Path) -> None:
    still = tmp_path / "still"
    still.mkdir()
    (still / "one.jpg").write_bytes(min(PHOTOGRAPHS))
    daemon = start(path=str(still), skip_unchanged=True)
    for _ in range(3):
        assert get(daemon, "/snapshot/camera.jpg")[:2] == (200, min(PHOTOGRAPHS))


def parts(answer: http.client.HTTPResponse) -> Iterator[dict[str, str]]:
    """The headers of a stream's parts."""
    while answer.readline() == b"--frame\r\n":
        fields = dict(line.split(": ") for line in iter(lambda: answer.readline().decode().strip(), ""))
        assert len(answer.read(int(fields["Content-Length"]))) == int(fields["Content-Length"])
        yield fields
        assert answer.readline() == b"\r\n"


def test_a_viewer_who_reads_late_gets_new_frames_and_costs_no_memory(start: Start) -> None:
    daemon = start(fps=100)
    host, port = daemon.address.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    connection.sock = socket.socket()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    connection.sock.connect((host, int(port)))
    connection.request("GET", "/stream/camera.mjpg", headers={"Authorization": f"Bearer {TOKEN}"})
    stream = parts(connection.getresponse())
    next(stream)
    other = Watching(daemon)
    until(lambda: other.received > 2_000_000, "frames for the other")
    before = resident_mb(daemon)
    until(lambda: other.received > 6_000_000, "more frames for the other")
    assert resident_mb(daemon) - before < 10
    began = time.time()
    old = list(itertools.takewhile(lambda fields: float(fields["X-Captured-At"]) < began - 0.2, stream))
    assert sum(int(fields["Content-Length"]) for fields in old) < 600_000
    connection.close()


def test_what_cannot_be_shown_is_said(start: Start, tmp_path: Path) -> None:
    daemon = start()
    assert get(daemon, "/snapshot/gate.jpg")[:2] == (
        404,
        b"no source or region is called gate; there are: camera\n",
    )
    shutil.rmtree(tmp_path / "photographs")
    until(lambda: get(daemon, "/snapshot/camera.jpg")[0] == 503, "the state of the source")
    assert get(daemon, "/stream/camera.mjpg")[1].startswith(b"source camera: ")


class Watching(threading.Thread):
    """Someone who watches a stream to its end."""

    def __init__(self, daemon: ScriptedDaemon) -> None:
        super().__init__(daemon=True)
        host = daemon.address.removeprefix("http://")
        self._connection = http.client.HTTPConnection(host, timeout=30)
        self._connection.request("GET", "/stream/camera.mjpg", headers={"Authorization": f"Bearer {TOKEN}"})
        self.answer = self._connection.getresponse()
        self.received = 0
        self.start()

    def run(self) -> None:
        with contextlib.suppress(ConnectionError, http.client.HTTPException):  # the daemon was killed
            while part := self.answer.read1(65536):
                self.received += len(part)
        self._connection.close()


def test_viewers_are_limited_and_end_with_the_daemon(start: Start) -> None:
    daemon = start()
    watching = [Watching(daemon) for _ in range(MOST_VIEWERS)]
    assert all(each.answer.status == 200 for each in watching)
    until(lambda: all(each.received for each in watching), "frames for all")
    assert get(daemon, "/stream/camera.mjpg")[:2] == (503, b"8 viewers are watching; no more are possible\n")
    daemon.signal(signal.SIGTERM)
    for each in watching:
        each.join(20)
        assert not each.is_alive()
    assert daemon.process.wait(20) == 0


def test_a_viewer_who_reads_nothing_delays_nobody(start: Start) -> None:
    daemon = start()
    host, port = daemon.address.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    connection.request("GET", "/stream/camera.mjpg", headers={"Authorization": f"Bearer {TOKEN}"})
    other = Watching(daemon)
    before = other.received
    until(lambda: other.received > before + 20 * 100_000, "frames for the other")
    assert get(daemon, "/snapshot/camera.jpg")[0] == 200
    connection.close()

"""Health and metrics of the real daemon, over real HTTP."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from incv3d.client import Client
from incv3d.frames import OWN, Refusal, Result
from incv3d.images.decode_cost import is_large
from incv3d.images.demo import demo_folder
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.pipeline.probe import Probe
from incv3d.transports.http.health import Readiness
from processes import PATIENCE_S, DaemonProcess, ScriptedDaemon, environment

CAT = demo_folder() / "cat.jpg"


@pytest.fixture
def start(state: Path, tmp_path: Path) -> Iterator[Callable[..., DaemonProcess]]:
    started: list[DaemonProcess] = []
    config = tmp_path / "incv3d.yaml"
    config.write_text("http: {bind: '127.0.0.1:0'}\nsession: {run_limit_s: 0}\ndaemon: {grace_s: 0.1}\n")

    def make(kind: type[DaemonProcess] = DaemonProcess, *words: str) -> DaemonProcess:
        given = (str(config), *words) if kind is ScriptedDaemon else ("--config", str(config), *words)
        started.append(kind(state, tmp_path, *given))
        return started[-1]

    yield make
    for process in started:
        process.kill()


def get(url: str, accept: str = "*/*") -> tuple[int, str]:
    request = urllib.request.Request(url, headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def value(url: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", get(f"{url}/metrics")[1], re.MULTILINE)
    assert found, name
    return float(found[1])


def test_a_daemon_that_loads_is_alive_and_not_ready(start) -> None:
    daemon = start(DaemonProcess, "--warmup-runs", "1000")
    url = daemon.url()
    daemon.wait_for("model efficientnet-lite0")
    assert get(f"{url}/healthz") == (200, "ok\n")
    assert get(f"{url}/readyz") == (503, "the daemon is starting\n")
    assert value(url, 'incv3d_state{state="starting"}') == 1


def test_a_warm_daemon_is_ready_because_a_frame_gets_through(start) -> None:
    daemon = start()
    url = daemon.url()
    daemon.ready()
    assert get(f"{url}/readyz") == (200, "ok\n")
    with Client(daemon.door) as client:
        stats = client.ask("stats")
    assert stats["outcomes"]["ok"] == 0, "its own picture was counted"
    assert value(url, 'incv3d_frames_total{outcome="ok"}') == 0


def test_what_becomes_of_frames_is_counted(start) -> None:
    daemon = start()
    url = daemon.url()
    daemon.ready()
    with Client(daemon.door) as client:
        for _ in range(3):
            client.classify(CAT)
        with pytest.raises(Exception, match="bad_image"):
            client.classify(CAT.read_bytes()[:3000])
        with pytest.raises(Exception, match="bad_request"):
            client.classify(b"")
    outcomes = {name: value(url, f'incv3d_frames_total{{outcome="{name}"}}') for name in ("ok", "bad_image")}
    assert outcomes == {"ok": 3, "bad_image": 1}
    for name in ("queue", "decode", "run", "total", "age"):
        assert value(url, f"incv3d_{name}_seconds_count") == 3
    assert 0 < value(url, "incv3d_run_seconds_sum") < value(url, "incv3d_total_seconds_sum") + 1e-9
    status, text = get(f"{url}/metrics", "application/openmetrics-text; version=1.0.0")
    assert status == 200 and text.endswith("# EOF\n")
    assert daemon.stop() == 0, daemon.said


def test_prometheus_own_tool_has_nothing_to_say_of_the_running_daemon(start) -> None:
    if not shutil.which("promtool"):
        pytest.skip("needs promtool: apt-get install prometheus")
    daemon = start(DaemonProcess, "--demo")
    url = daemon.url()
    daemon.wait_for("source demo: ok")
    text = get(f"{url}/metrics")[1]
    assert 'incv3d_camera_state{camera="demo",state="ok"} 1.0' in text
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_daemon_whose_session_hangs_is_alive_and_not_ready(start) -> None:
    daemon = start(ScriptedDaemon)
    url = daemon.url()
    daemon.ready()
    assert get(f"{url}/readyz") == (200, "ok\n")
    with Client(daemon.door, timeout_s=0.2) as client, pytest.raises(Exception, match="no answer"):
        header = json.dumps({"v": 1, "id": "hang-run", "encoding": "jpeg"}).encode()
        client._exchange(1, lambda: [header, CAT.read_bytes()])
    # Results that came a moment ago count for some seconds; then only a new one does.
    deadline = time.monotonic() + PATIENCE_S
    while (verdict := get(f"{url}/readyz"))[0] == 200 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert verdict == (503, "no frame got through within 10 s\n")
    assert get(f"{url}/healthz") == (200, "ok\n")


def test_a_daemon_that_was_stopped_for_a_while_goes_on(start) -> None:
    daemon = start()
    url = daemon.url()
    daemon.ready()
    daemon.signal(signal.SIGSTOP)
    daemon.signal(signal.SIGCONT)
    assert get(f"{url}/healthz")[0] == 200
    assert get(f"{url}/nothing")[0] == 404


def test_stopping_does_not_wait_for_a_reader_that_is_slow(start) -> None:
    daemon = start()
    url = daemon.url()
    daemon.ready()
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as idle:
        idle.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n")  # and no end of it
        assert daemon.stop() == 0
    assert not any("did not close" in line for line in daemon.said), daemon.said


def test_an_address_in_use_ends_it_with_one_line(start, state: Path, tmp_path: Path) -> None:
    url = start().url()
    config = tmp_path / "second.yaml"
    config.write_text(f"http: {{bind: '{url.removeprefix('http://')}'}}\n")
    (tmp_path / "second").mkdir()
    second = DaemonProcess(state, tmp_path / "second", "--config", str(config))
    assert second.wait() == 1
    assert second.said[-1].startswith("incv3d: http.bind: cannot listen on 127.0.0.1:")


def test_without_its_libraries_it_says_how_to_get_them(state: Path, tmp_path: Path) -> None:
    config = tmp_path / "incv3d.yaml"
    config.write_text("http: {bind: '127.0.0.1:0'}\n")
    code = "import sys; sys.modules['aiohttp'] = None; from incv3d.cli import main; main()"
    command = [sys.executable, "-c", code, "run", "--config", str(config)]
    done = subprocess.run(command, env=environment(state), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    advice = f"{sys.executable} -m pip install aiohttp prometheus-client"
    assert done.stderr.splitlines()[-1] == f"incv3d: {config}:1: http.bind: aiohttp is missing: {advice}"


def test_without_http_none_of_its_libraries_is_imported() -> None:
    code = (
        "import sys\nfrom incv3d.app.daemon import Daemon\n"
        "print(sorted({'aiohttp', 'prometheus_client', 'asyncio'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


class Scene:
    """A frame_queue that nobody empties but the test, and a clock that it sets."""

    def __init__(self) -> None:
        self.now = 100.0
        self.frame_queue = FrameQueue(8, 1 << 20, 4, is_large)
        self.readiness = Readiness(Probe(self.frame_queue, CAT.read_bytes), lambda: self.now)

    def answer_probe(self) -> None:
        frame = self.frame_queue.take(False, lambda: 0.0)
        assert frame and frame.source == OWN
        self.readiness.complete(Result(OWN))


def test_a_recent_result_needs_no_probe() -> None:
    scene = Scene()
    scene.readiness.complete(Result("zmq"))
    scene.now += 4
    assert scene.readiness.check(0)
    scene.now += 4
    assert not scene.readiness.check(0), "a result of 8 s ago shows nothing"


def test_a_refused_frame_shows_nothing() -> None:
    scene = Scene()
    scene.readiness.complete(Result("zmq", refusal=Refusal.BAD_IMAGE))
    assert not scene.readiness.check(0)


def test_many_who_ask_at_once_wait_for_one_probe() -> None:
    scene = Scene()
    verdicts: list[bool] = []
    threads = [threading.Thread(target=lambda: verdicts.append(scene.readiness.check(20))) for _ in range(5)]
    for thread in threads:
        thread.start()
    scene.answer_probe()
    while any(thread.is_alive() for thread in threads):
        for thread in threads:
            thread.join(0.05)
        scene.readiness.complete(Result(OWN))  # for those that came after the probe was answered
    assert verdicts == [True] * 5

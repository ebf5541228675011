"""The real daemon on a real stream that dies, falls silent, or comes late; the door answers all the while."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from incv3d.client import Client
from incv3d.images.demo import demo_folder
from processes import PATIENCE_S, DaemonProcess
from streams import H264, HttpStream, RtspStream, film

pytest.importorskip("av", reason="needs PyAV: pip install 'incv3d[video]'")

CAT = demo_folder() / "cat.jpg"


class HttpClient:
    """A client that asks the door without a pause, and remembers the longest it waited."""

    def __init__(self, door: str) -> None:
        self._door = door
        self._stop = threading.Event()
        self.answered = 0
        self.longest_s = 0.0
        self.failures: list[str] = []
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        with Client(self._door, timeout_s=PATIENCE_S) as client:
            while not self._stop.wait(0.02):
                asked = time.monotonic()
                answer = client.classify(CAT)
                self.longest_s = max(self.longest_s, time.monotonic() - asked)
                self.answered += 1
                if answer.status != "ok":
                    self.failures.append(str(answer))

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_S)
        assert self.answered > 0 and not self.failures, self.failures


@pytest.fixture
def start(state: Path, tmp_path: Path) -> Iterator[Callable[..., DaemonProcess]]:
    started: list[DaemonProcess] = []

    def make(url: str, **source: object) -> DaemonProcess:
        config = tmp_path / "incv3d.yaml"
        section = {"type": "video", "name": "porch", "path": url, "stall_timeout_s": 2, **source}
        config.write_text(json.dumps({"source": section}))
        started.append(DaemonProcess(state, tmp_path, "--config", str(config)))
        return started[-1].ready()

    yield make
    for daemon in started:
        daemon.kill()


@pytest.fixture(params=["http", "rtsp"])
def stream(request: pytest.FixtureRequest) -> Iterator[HttpStream | RtspStream]:
    server = HttpStream() if request.param == "http" else RtspStream(H264)
    yield server
    server.kill()


def source_of(daemon: DaemonProcess) -> dict[str, Any]:
    with Client(daemon.door) as client:
        facts: dict[str, Any] = client.ask("stats")["source"]
    return facts


def next_result(daemon: DaemonProcess) -> dict[str, Any]:
    """A result of the stream that is published from now on."""
    with zmq.Context() as context:
        subscriber = context.socket(zmq.SUB)
        subscriber.set(zmq.SUBSCRIBE, b"result.porch")
        subscriber.connect(daemon.results)
        assert subscriber.poll(PATIENCE_S * 1000), "no result of the stream"
        result: dict[str, Any] = json.loads(subscriber.recv_multipart()[1])
        subscriber.close()
    return result


def test_a_stream_that_dies_and_comes_back_is_taken_up_again(start, stream, capsys) -> None:
    stream.start()
    daemon = start(stream.url)
    daemon.wait_for("source porch: ok")
    assert next_result(daemon)["status"] == "ok"
    asker = HttpClient(daemon.door)
    stream.kill()
    daemon.wait_for("source porch: absent")
    assert source_of(daemon)["state"] == "absent"
    stream.start()
    back = time.monotonic()
    daemon.wait_for("source porch: ok after")
    recovery_s = time.monotonic() - back
    assert next_result(daemon)["age_ms"] < 5000
    asker.stop()
    facts = source_of(daemon)
    assert (facts["state"], facts["recoveries"], facts["reason"]) == ("ok", 1, "")
    with capsys.disabled():
        print(
            f"\n{stream.url[:4]}: frames again {recovery_s:.1f} s after the server was back; meanwhile "
            f"{asker.answered} requests answered, the slowest in {asker.longest_s * 1000:.0f} ms"
        )
    assert daemon.stop() == 0, daemon.said


def test_a_stream_that_falls_silent_is_opened_again(start, capsys) -> None:
    stream = HttpStream().start()
    try:
        daemon = start(stream.url)
        daemon.wait_for("source porch: ok")
        asker = HttpClient(daemon.door)
        stream.freeze()
        silent = time.monotonic()
        daemon.wait_for("source porch: ")
        noticed_s = time.monotonic() - silent
        assert "no data in time" in daemon.said[-1] or "no frame for 2 s" in daemon.said[-1]
        stream.kill()
        stream.start()
        daemon.wait_for("source porch: ok after")
        asker.stop()
        with capsys.disabled():
            print(
                f"\nsilence noticed after {noticed_s:.1f} s, frames again {time.monotonic() - silent:.1f} s"
            )
        assert daemon.stop() == 0, daemon.said
    finally:
        stream.kill()


def test_a_daemon_whose_camera_is_absent_starts_and_serves_and_takes_it_up_later(start, stream) -> None:
    daemon = start(stream.url)
    daemon.wait_for("source porch: absent: ")
    with Client(daemon.door) as client:
        assert client.classify(CAT).status == "ok"
    facts = source_of(daemon)
    assert facts["state"] == "absent" and "Connection refused" in facts["reason"] and facts["frames"] == 0
    stream.start()
    daemon.wait_for("source porch: ok after")
    assert next_result(daemon)["status"] == "ok"
    assert daemon.stop() == 0, daemon.said


def test_a_silent_stream_does_not_hold_up_the_end(start) -> None:
    stream = HttpStream().start()
    try:
        daemon = start(stream.url, stall_timeout_s=600)
        daemon.wait_for("source porch: ok")
        stream.freeze()
        started = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - started < 8, "it waited for the camera"
    finally:
        stream.kill()


def test_a_video_is_classified_frame_by_frame_without_loss(start, tmp_path) -> None:
    daemon = start(str(film(tmp_path)), every_frame=True, loop=False)
    daemon.wait_for("source porch has no more frames")
    with Client(daemon.door) as client:
        while (totals := client.ask("stats")["outcomes"]).get("ok", 0) < 20:
            pass
    assert {outcome: count for outcome, count in totals.items() if count} == {"ok": 20}
    assert source_of(daemon)["state"] == "ended"
    assert daemon.stop() == 0, daemon.said

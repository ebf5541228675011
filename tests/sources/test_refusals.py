"""A camera whose frames cannot be used says so, once, wherever people look, and recovers by itself."""

from __future__ import annotations

import itertools
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from doubles import jpeg
from incv3d.client import Client
from incv3d.frames import Refusal, Result
from incv3d.sources.refusals import RefusalLimit, Refusals
from processes import PATIENCE_S, DaemonProcess
from sse import Viewer
from webcams import Request, WebCamera, web_camera

GOOD = Result("camera")


def refused(refusal: Refusal = Refusal.BAD_IMAGE, detail: str = "damaged") -> Result:
    return Result("camera", refusal=refusal, detail=detail)


def after(*counted: tuple[float, Result], regions: int = 0) -> Refusals:
    """What is said after these results, each at its time in seconds."""
    refusals = Refusals(regions, RefusalLimit(frames=3, at_least_s=2.0))
    for at, result in counted:
        refusals.count(result, at)
    return refusals


def test_three_refused_frames_in_a_row_over_two_seconds_are_said() -> None:
    assert after((0, refused()), (1, refused()), (2, refused())).reason == "bad_image: damaged"
    assert not after((0, refused()), (2, refused())).reason
    assert not after(*((number / 100, refused()) for number in range(100))).reason
    assert after(*((number / 100, refused()) for number in range(201))).reason
    assert not after((0, refused()), (1, refused()), (1.5, GOOD), (2, refused()), (3, refused())).reason


def test_the_frames_of_an_hour_count_as_those_of_a_second() -> None:
    assert after(*((number * 3600.0, refused()) for number in range(3))).reason


def test_a_frame_counts_once_however_many_regions_it_has() -> None:
    assert not after(*((number, refused()) for number in range(8)), regions=3).reason
    assert after(*((number, refused()) for number in range(9)), regions=3).reason
    # One region that is too small for the model is not the camera's fault.
    mixed = itertools.cycle([refused(), GOOD, refused()])
    assert not after(*zip(range(30), mixed, strict=False), regions=3).reason


def test_a_frame_that_came_at_a_bad_time_is_no_fault_and_no_merit() -> None:
    for refusal in (Refusal.BUSY, Refusal.EXPIRED, Refusal.SHUTTING_DOWN):
        assert not after(*((number, refused(refusal)) for number in range(9))).reason
        said = after((0, refused()), (1, refused()), (2, refused(refusal)), (3, refused()))
        assert said.reason == "bad_image: damaged" and said.total == 3


def test_an_error_of_our_own_is_said_too() -> None:
    failed = refused(Refusal.INTERNAL, "decoding failed; see the daemon's log")
    assert after(*((number, failed) for number in range(3))).reason == f"internal: {failed.detail}"


def test_the_reason_stays_while_its_kind_does() -> None:
    counted = [(number, refused(detail=f"{number} bytes are missing")) for number in range(9)]
    assert after(*counted).reason == "bad_image: 2 bytes are missing"
    large = refused(Refusal.TOO_LARGE, "9000x9000 pixels")
    assert after(*counted, (9, large), (10, large)).reason == "too_large: 9000x9000 pixels"


def test_one_accepted_frame_is_enough() -> None:
    said = after((0, refused()), (1, refused()), (2, refused()), (3, GOOD))
    assert not said.reason and said.total == 3


class Pictures:
    """What a web camera sends: cut pictures until it is told to send whole ones."""

    def __init__(self, moving: bool) -> None:
        self._moving = moving
        self.good = threading.Event()

    def __call__(self, request: Request) -> None:
        if request.path == "/snapshot.jpg":
            request.send_whole(self._next(0))
            return
        request.head(Content_Type="multipart/x-mixed-replace; boundary=frame")
        for number in itertools.count():
            request.send(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + self._next(number) + b"\r\n")
            if not request.pause(0.1):
                return

    def _next(self, number: int) -> bytes:
        picture = jpeg(320, 240, seed=number if self._moving else 0)
        # Its end marker is there: only a decoder sees that something is missing.
        return picture if self.good.is_set() else picture[: len(picture) // 2] + b"\xff\xd9"


Start = Callable[..., tuple[DaemonProcess, str]]


@pytest.fixture
def start(state: Path, tmp_path: Path) -> Iterator[Start]:
    started: list[DaemonProcess] = []

    def make(camera: WebCamera, path: str = "/video", **source: object) -> tuple[DaemonProcess, str]:
        config = tmp_path / "incv3d.yaml"
        section = {"type": "video", "name": "porch", "path": camera.url(path), **source}
        config.write_text(json.dumps({"source": section, "http": {"bind": "127.0.0.1:0"}}))
        daemon = DaemonProcess(state, tmp_path, "--config", str(config))
        started.append(daemon)
        url = daemon.url()
        daemon.ready()
        return daemon, url

    yield make
    for daemon in started:
        daemon.kill()


def stats(daemon: DaemonProcess) -> dict[str, Any]:
    with Client(daemon.door) as client:
        facts: dict[str, Any] = client.ask("stats")
    return facts


def wait_for_state(daemon: DaemonProcess, state: str) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_S
    while (source := stats(daemon)["source"])["state"] != state:
        assert time.monotonic() < deadline, source
        time.sleep(0.05)
    return source


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("/video", {}),
        ("/video", {"regions": {"left": [0, 0, 0.5, 1], "right": [0.5, 0, 0.5, 1]}, "skip_unchanged": True}),
        ("/snapshot.jpg", {"interval_s": 0.5}),
    ],
    ids=["stream", "regions of what does not move", "one picture each interval"],
)
def test_a_camera_of_damaged_frames_is_refused_until_the_first_good_one(start, path, source) -> None:
    pictures = Pictures(moving="regions" not in source)
    with web_camera(pictures) as camera:
        daemon, url = start(camera, path, **source)
        line = daemon.wait_for("source porch: refused")
        assert "WARNING" in line and "refused: bad_image: damaged JPEG: " in line
        told = wait_for_state(daemon, "refused")
        assert told["reason"].startswith("bad_image: damaged JPEG: ") and told["refused_frames"] >= 3
        refusals = stats(daemon)["outcomes"]["bad_image"]
        with urllib.request.urlopen(f"{url}/metrics", timeout=PATIENCE_S) as answer:
            metrics = answer.read().decode()
        assert 'incv3d_camera_state{camera="porch",state="refused"} 1.0' in metrics
        assert 'incv3d_camera_state{camera="porch",state="ok"} 0.0' in metrics
        assert 'incv3d_camera_refused_frames_total{camera="porch"}' in metrics
        with closing(Viewer(url)) as viewer:
            assert viewer.next("facts")["source"]["state"] == "refused"
        while stats(daemon)["outcomes"]["bad_image"] < refusals + 4:
            time.sleep(0.05)
        pictures.good.set()
        daemon.wait_for("source porch: ok after")
        told = wait_for_state(daemon, "ok")
        assert not told["reason"] and told["recoveries"] == 0
        while not stats(daemon)["outcomes"]["ok"]:
            time.sleep(0.05)
        assert daemon.stop() == 0
    states = [
        each.partition("source porch: ")[2].split(":")[0] for each in daemon.said if "source porch:" in each
    ]
    assert [each.split()[0] for each in states if not each.startswith("regions")] == ["ok", "refused", "ok"]
    assert not any("Traceback" in each for each in daemon.said)


def test_a_camera_that_is_refused_and_goes_away_is_absent(start) -> None:
    with web_camera(Pictures(moving=True)) as camera:
        daemon, _ = start(camera, stall_timeout_s=1)
        daemon.wait_for("source porch: refused")
    wait_for_state(daemon, "absent")
    assert daemon.stop() == 0

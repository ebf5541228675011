"""The real daemon on sources as people have them: what they show is what it says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from incv3d.client import Client
from incv3d.client.subscription import Published, results
from incv3d.images.demo import demo_folder
from processes import PATIENCE_S, DaemonProcess
from webcams import Request, parts, web_camera

CAT = demo_folder() / "cat.jpg"


@pytest.fixture
def start(state: Path, tmp_path: Path) -> Iterator[Callable[..., DaemonProcess]]:
    started: list[DaemonProcess] = []

    def make(**source: object) -> DaemonProcess:
        config = tmp_path / "incv3d.yaml"
        config.write_text(json.dumps({"source": {"name": "porch", "stall_timeout_s": 2, **source}}))
        started.append(DaemonProcess(state, tmp_path, "--config", str(config)))
        return started[-1].ready()

    yield make
    for daemon in started:
        daemon.kill()


def published(daemon: DaemonProcess, count: int) -> list[Published]:
    stream = results(daemon.results, "porch", PATIENCE_S)
    found = [next(stream) for _ in range(count)]
    stream.close()
    return found


def source_of(daemon: DaemonProcess) -> dict[str, Any]:
    with Client(daemon.door) as client:
        facts: dict[str, Any] = client.ask("stats")["source"]
    return facts


def best(result: Published) -> tuple[str, float]:
    answer = result.answer
    assert answer.predictions, answer
    return answer.predictions[0].label, answer.predictions[0].score


@pytest.mark.parametrize("name", ["phone-upright.mp4", "plain.mp4"])
def test_a_phones_video_is_seen_upright(start, shared: Path, name: str) -> None:
    pytest.importorskip("av", reason="needs PyAV: pip install 'incv3d[video]'")
    daemon = start(type="video", path=str(shared / "cases/films" / name), every_frame=True)
    label, score = best(published(daemon, 1)[0])
    assert label == "espresso" and score == pytest.approx(0.879, abs=0.03)
    assert daemon.stop() == 0


def test_a_video_of_one_frame_in_many_seconds_stalls_nothing(start, shared: Path) -> None:
    pytest.importorskip("av", reason="needs PyAV: pip install 'incv3d[video]'")
    daemon = start(type="video", path=str(shared / "cases/films/timelapse-one-frame-15s.mp4"))
    assert best(published(daemon, 1)[0])[1] > 0
    facts = source_of(daemon)
    assert (facts["state"], facts["recoveries"]) == ("ok", 0)
    assert not [line for line in daemon.said if "stalled" in line]
    assert daemon.stop() == 0


def test_images_of_a_web_camera_and_of_a_watched_folder_are_seen(start, tmp_path: Path) -> None:
    def answer(request: Request) -> None:
        request.send_whole(CAT.read_bytes())

    with web_camera(answer) as camera:
        daemon = start(type="video", path=camera.url("/snapshot.jpg"), interval_s=0.5)
        seen = published(daemon, 3)
        assert daemon.stop() == 0
    folder = tmp_path / "ftp"
    folder.mkdir()
    daemon = start(type="images", path=str(folder), watch=True)
    stream = results(daemon.results, "porch", PATIENCE_S)
    (folder / "day").mkdir()
    shutil.copy(CAT, folder / "day/1.jpg")
    found = next(stream)
    stream.close()
    assert found.answer.id == "day/1.jpg" and {best(each) for each in [*seen, found]} == {best(found)}
    assert source_of(daemon)["state"] == "ok" and daemon.stop() == 0


def test_a_camera_of_broken_motion_jpeg_is_ok(start) -> None:
    with web_camera(parts(first_before=b"", head=b"Content-Type: image/jpg\r\n\r\n")) as camera:
        daemon = start(type="video", path=camera.url())
        assert all(each.answer.status == "ok" for each in published(daemon, 3))
        assert source_of(daemon)["state"] == "ok" and daemon.stop() == 0

"""The latest frame of a source, kept while it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from incv3d.client import Client
from incv3d.frames import Frame, Refusal, Result
from incv3d.images.demo import demo_folder
from incv3d.pipeline import latest_frames
from incv3d.pipeline.latest_frames import LatestFrames
from incv3d.protocol.latest_frame import LatestFrame
from processes import ScriptedDaemon
from waiting import until


def result(source: str, data: bytes = b"image", refusal: Refusal | None = None) -> Result:
    return Result(source, refusal=refusal, frame=Frame(source, data, None, received=1.0, captured=1.0))


def test_frames_are_kept_only_for_a_source_that_is_asked_for() -> None:
    frames = LatestFrames()
    frames.offer(result("camera", b"before anybody asked"))
    assert frames.after("camera", 0) is None
    frames.offer(result("other"))
    frames.offer(result("camera", b"one"))
    first = frames.after("camera", 0)
    assert first and first.frame.data == b"one"
    assert frames.after("camera", first.number) is None, "it is not given twice"
    frames.offer(result("camera", b"damaged", Refusal.BAD_IMAGE))
    frames.offer(result("camera", b"two"))
    second = frames.after("camera", first.number)
    assert second and second.frame.data == b"two"


def test_a_source_that_nobody_asks_for_any_longer_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = LatestFrames()
    frames.after("camera", 0)
    frames.offer(result("camera"))
    monkeypatch.setattr(latest_frames, "ASKED_S", -1.0)
    frames.offer(result("camera"))
    assert frames.after("camera", 0) is None


def test_a_frame_that_is_too_large_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latest_frames, "LARGEST_BYTES", 3)
    frames = LatestFrames()
    frames.after("camera", 0)
    frames.offer(result("camera", b"four"))
    assert frames.after("camera", 0) is None


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[ScriptedDaemon]:
    file = tmp_path / "incv3d.yaml"
    source = f"{{path: {demo_folder()}, name: camera, fps: 20, regions: {{left: [0, 0, 0.5, 1]}}}}"
    file.write_text(f"source: {source}\n")
    found = ScriptedDaemon(tmp_path, tmp_path, str(file)).ready()
    yield found
    found.kill()


def test_a_client_gets_the_frames_of_a_region_as_they_were_captured(daemon: ScriptedDaemon) -> None:
    images = {each.read_bytes() for each in demo_folder().glob("*.jpg")}

    def next_frame(after: int) -> LatestFrame:
        found: LatestFrame = until(
            lambda: (frame := client.frame("camera.left", after)).number and frame, "a frame"
        )
        return found

    with Client(daemon.door) as client:
        first = next_frame(0)
        assert first.image in images and first.region == (0, 0, 0.5, 1) and first.captured_at > 1e9
        assert next_frame(first.number).number > first.number
        assert client.frame("nobody").number == 0
    assert daemon.stop() == 0

"""What is wanted seldom from a live stream is its key frames, and never one of before."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from incv3d.config.source import SourceSection
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.sources import CaptureSchedule, FrameSource, SourceSupervisor, source_opener
from waiting import until
from webcams import web_camera

pytest.importorskip("av", reason="needs PyAV: pip install 'incv3d[video]'")

from incv3d.sources.ffmpeg import VideoInput
from live_h264 import KEY_EVERY_S, LiveH264, encode, group_of


@pytest.fixture(scope="module", params=[0, 2], ids=["without B-frames", "with B-frames"])
def pieces(request: pytest.FixtureRequest) -> list[bytes]:
    return encode(request.param)


@pytest.fixture
def live(pieces: list[bytes]) -> Iterator[tuple[LiveH264, str]]:
    stream = LiveH264(pieces)
    with web_camera(stream) as camera:
        yield stream, camera.url()


def opened(url: str, **section: float) -> FrameSource:
    opener = source_opener(SourceSection(type="video", path=url, stall_timeout_s=20, **section))
    assert opener
    return opener()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each packet that is decoded, whether it is a key frame's."""
    packets: list[bool] = []
    decode = VideoInput.decode

    def note(video: VideoInput, packet) -> list:
        if packet is not None:
            packets.append(packet.is_keyframe)
        return decode(video, packet)

    monkeypatch.setattr(VideoInput, "decode", note)
    return packets


def captured_groups(source: FrameSource, stream: LiveH264, gap_s: float, count: int) -> list[tuple[int, int]]:
    """The group of each frame, and the newest that had been sent when it came; below 0: no key frame."""
    groups = []
    due = 0.0
    for _ in range(count):
        frame = source.capture(due)
        assert frame
        groups.append((group_of(float(np.frombuffer(frame.data, np.uint8).mean())), stream.newest_group))
        due = time.monotonic() + gap_s
    return groups


def test_only_key_frames_are_decoded_where_a_frame_is_wanted_seldom(live, decoded) -> None:
    stream, url = live
    source = opened(url, interval_s=1.0)
    # A frame that came late leaves less than the interval up to the next.
    groups = captured_groups(source, stream, 0.6, 3)
    source.close()
    assert all(group >= 0 for group, _ in groups), groups
    assert decoded == [True] * len(groups)


@pytest.mark.parametrize("interval_s", [0.0, 1.0])
def test_a_frame_that_is_waited_for_is_not_one_of_before(live, interval_s: float) -> None:
    stream, url = live
    source = opened(url, interval_s=interval_s)
    groups = captured_groups(source, stream, 3 * KEY_EVERY_S, 3)
    source.close()
    assert all(group < 0 or group >= newest - 1 for group, newest in groups), groups


@pytest.fixture(scope="module")
def seldom_keys() -> list[bytes]:
    """A stream with a key frame every 2 s."""
    return encode(key_every=100)


def test_where_key_frames_are_too_far_apart_the_frames_between_them_fill_in(seldom_keys) -> None:
    with web_camera(LiveH264(seldom_keys)) as camera:
        source = opened(camera.url(), interval_s=1.0)
        captured = []
        for _ in range(6):
            frame = source.capture(captured[-1] + 1.0 if captured else 0.0)
            assert frame
            captured.append(frame.captured)
        source.close()
    assert max(b - a for a, b in pairwise(captured[-3:])) < 1.5, captured


def test_a_key_frame_that_is_waited_for_is_no_stall(seldom_keys) -> None:
    with web_camera(LiveH264(seldom_keys)) as camera:
        section = SourceSection(type="video", path=camera.url(), interval_s=1.4)
        opener = source_opener(section)
        assert opener
        frame_queue = FrameQueue(1, 1, 1, lambda frame: False)
        pace = CaptureSchedule(section.frame_interval_s, stall_timeout_s=0.2)
        ends: list[str] = []
        capture = SourceSupervisor(
            "c", opener, frame_queue, pace, lambda: None, ends.append, lambda *death: None
        )
        capture.start()
        until(lambda: capture.status().frames >= 3 or capture.status().reason, "no frames come")
        status = capture.status()
        capture.close()
        assert capture.wait_until_closed(10)
    assert (status.state, status.reason) == ("ok", "")
    assert len(camera.asked) == 1


def test_every_frame_is_decoded_where_frames_are_wanted_as_they_come(live, decoded) -> None:
    stream, url = live
    source = opened(url)
    groups = captured_groups(source, stream, 0.0, 40)
    source.close()
    assert len(groups) - sum(decoded) > 30, "it skips frames"

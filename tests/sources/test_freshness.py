"""What a slow Session gets from a fast source: the newest frame, never a backlog."""

from __future__ import annotations

import queue
import statistics
import time
from pathlib import Path

from doubles import ScriptedSession, TwoLabels, jpeg
from incv3d.frames import Frame, Result
from incv3d.images.decode_cost import is_large
from incv3d.images.preprocess import Preprocessor
from incv3d.images.resize import InputSpec
from incv3d.pipeline.classifier import Classifier
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.pipeline.workers import Pipeline
from incv3d.sources import CaptureSchedule, SourceSupervisor
from incv3d.sources.images import ImagesSource

FPS = 30.0
RUN_S = 0.15
RUNS = 20
SPEC = InputSpec(8, 8, 128.0, 128.0, "stretch", 1.0, "bilinear")


def test_a_session_slower_than_the_camera_gets_the_newest_frame_each_time(tmp_path: Path) -> None:
    for name in range(3):
        (tmp_path / f"{name}.jpg").write_bytes(jpeg(640, 480, seed=name))
    session = ScriptedSession(script=lambda number: time.sleep(RUN_S))
    classifier = Classifier(Preprocessor(SPEC, 1_000_000), session, TwoLabels(), top_k=2)
    frame_queue = FrameQueue(8, 1 << 20, 8, is_large)
    results: queue.SimpleQueue[Result] = queue.SimpleQueue()
    dropped: list[None] = []
    deaths: queue.SimpleQueue[object] = queue.SimpleQueue()
    drained: queue.SimpleQueue[None] = queue.SimpleQueue()
    capture = SourceSupervisor(
        "camera",
        lambda: ImagesSource("camera", str(tmp_path), FPS, loop=True),
        frame_queue,
        CaptureSchedule(),
        lambda: dropped.append(None),
        on_end=deaths.put,
        on_death=lambda *death: deaths.put(death),
    )
    pipeline = Pipeline(
        frame_queue,
        lambda: classifier,
        results.put,
        on_ready=capture.start,
        on_drained=lambda: drained.put(None),
        on_death=lambda *death: deaths.put(death),
    )
    pipeline.start()
    timings = [results.get(timeout=20).timings for _ in range(RUNS)]
    # A request waits beside the camera, and both get their turns.
    now = time.monotonic()
    frame_queue.offer(Frame("zmq", jpeg(), None, received=now, captured=now))
    assert "zmq" in {results.get(timeout=20).source for _ in range(3)}, "the camera starved a request"

    capture.close()
    frames, waiting = capture.status().frames, frame_queue.cameras
    frame_queue.close()
    drained.get(timeout=20)
    classified = session.runs - 1
    assert deaths.empty()
    assert frames == classified + len(dropped) + waiting, "a frame was lost without being counted"
    assert len(dropped) >= 2 * RUNS

    median = {
        key: statistics.median(getattr(each, key) for each in timings[2:])
        for key in ("age_ms", "run_ms", "decode_ms")
    }
    assert median["age_ms"] <= median["run_ms"] + 1000 / FPS + median["decode_ms"], median

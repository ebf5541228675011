"""A supervised scripted camera, and what its supervisor logs and reports."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from doubles import ScriptedCamera
from incv3d.frames import Frame, Region
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.sources import CaptureSchedule, Retry, SourceSupervisor
from incv3d.sources.refusals import RefusalLimit

QUICK = Retry(first_s=0.01, most_s=0.05, most_absent_s=0.05, opening_s=0.3, interrupt_s=0.1)
STALL_S = 0.2
PATIENCE_S = 10
ENDLESS_S = 3600.0
HALVES = {"left": Region(0, 0, 0.5, 1), "right": Region(0.5, 0, 0.5, 1)}


class Said(logging.Handler):
    """What the log says, to be waited for."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []
        self.tracebacks = 0
        self._queue: queue.SimpleQueue[str] = queue.SimpleQueue()

    def emit(self, record: logging.LogRecord) -> None:
        self.tracebacks += record.exc_info is not None
        self._queue.put(record.getMessage())

    def wait_for(self, words: str) -> str:
        """The next line that has these words."""
        while True:
            self.lines.append(self._queue.get(timeout=PATIENCE_S))
            if words in self.lines[-1]:
                return self.lines[-1]

    def trouble_s(self) -> float:
        """How long the trouble lasted, as the next line that ends it says."""
        return float(self.wait_for("ok after").split()[-2])

    def everything(self) -> list[str]:
        """All lines so far."""
        while not self._queue.empty():
            self.lines.append(self._queue.get())
        return self.lines


@dataclass(frozen=True)
class NotedRetry(Retry):
    """Puts down before which pauses it was asked: after how many failures in a row, and whether absent."""

    asked: queue.SimpleQueue[tuple[int, bool]] = field(default_factory=queue.SimpleQueue)
    pause_s: float = 0.0

    def delay_s(self, failures: int, absent: bool) -> float:
        self.asked.put((failures, absent))
        return self.pause_s

    def next(self) -> tuple[int, bool]:
        return self.asked.get(timeout=PATIENCE_S)


@dataclass
class Watched:
    """A capture at work on a scripted camera, and what it reported."""

    camera: ScriptedCamera
    frame_queue: FrameQueue
    said: Said
    dropped: list[None] = field(default_factory=list)
    ended: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)
    deaths: list[tuple[str, Exception]] = field(default_factory=list)
    capture: SourceSupervisor = field(init=False)

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        give_up = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < give_up, self.capture.status()
            time.sleep(0.005)

    def end(self) -> None:
        """Close the capture, and see that both of its threads end."""
        self.capture.close()
        assert self.capture.wait_until_closed(PATIENCE_S), "the capture thread still runs"
        self.join_watcher()

    def join_watcher(self) -> None:
        """Wait until the watching thread has ended."""
        for thread in threading.enumerate():
            if thread.name == "watch-camera":
                thread.join(PATIENCE_S)
                assert not thread.is_alive(), "the watching thread still runs"

    def take(self) -> Any:
        """The id of the next frame."""
        frame = self.take_frame()
        return frame and frame.id

    def take_frame(self) -> Frame | None:
        taken: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        threading.Thread(target=lambda: taken.put(self.frame_queue.take(False)), daemon=True).start()
        return taken.get(timeout=PATIENCE_S)


@contextlib.contextmanager
def watching() -> Iterator[Callable[..., Watched]]:
    """Yield a function that makes a supervisor of a scripted camera; close all of them afterwards."""
    made: list[Watched] = []
    logger = logging.getLogger("incv3d.sources.supervisor")
    logger.setLevel(logging.INFO)

    def make(
        *scripts: str,
        regions: dict[str, Region] | None = None,
        retry: Retry = QUICK,
        start: bool = True,
        **pace: Any,
    ) -> Watched:
        watched = Watched(ScriptedCamera(*scripts), FrameQueue(1, 1, 1, lambda frame: False), Said())
        made.append(watched)
        logger.addHandler(watched.said)
        watched.capture = SourceSupervisor(
            "camera",
            watched.camera,
            watched.frame_queue,
            CaptureSchedule(**{"stall_timeout_s": STALL_S, **pace}),
            lambda: watched.dropped.append(None),
            watched.ended.put,
            lambda thread, error: watched.deaths.append((thread, error)),
            retry,
            regions=regions,
            refusal_limit=RefusalLimit(frames=2, at_least_s=0.0),
        )
        if start:
            watched.capture.start()
        return watched

    yield make
    for watched in made:
        logger.removeHandler(watched.said)
        watched.camera.let_go()
        watched.capture.close()
        watched.frame_queue.close()
        assert not watched.deaths


def status(watched: Watched) -> Any:
    return watched.capture.status()

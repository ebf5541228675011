"""A pipeline whose Session and decoder are controlled by the test."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from doubles import ScriptedSession, TwoLabels
from incv3d.engines.base import ImageArray, Pixels
from incv3d.frames import Frame, Result
from incv3d.images.change_detector import ChangeDetector
from incv3d.images.preprocess import Preprocessor
from incv3d.images.resize import InputSpec
from incv3d.pipeline.classifier import Classifier
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.pipeline.workers import Pipeline

SPEC = InputSpec(8, 8, 128.0, 128.0, "stretch", 1.0, "bilinear")

SOON_S = 10


class ScriptedPreprocessor(Preprocessor):
    """Decodes nothing; frames named `large …` wait until the test lets them go."""

    def __init__(self) -> None:
        super().__init__(SPEC, max_pixels=1)
        self.let_go = threading.Semaphore(0)
        self.script: Callable[[Frame], None] = lambda frame: None
        self.feed_script: Callable[[], None] = lambda: None

    def __call__(self, frame: Frame) -> Pixels:
        if is_large(frame):
            assert self.let_go.acquire(timeout=SOON_S), "nobody let the large frame go"
        self.script(frame)
        return np.zeros((1, 8, 8, 3), np.float32)

    def decode(self, frame: Frame) -> ImageArray:
        """A picture as bright as the number of its frame says."""
        self.script(frame)
        return np.full((8, 8, 3), frame.id, np.uint8)

    def feed(self, picture: ImageArray) -> Pixels:
        self.feed_script()
        return np.zeros((1, 8, 8, 3), np.float32)


def is_large(frame: Frame) -> bool:
    return str(frame.id).startswith("large")


@dataclass
class ScriptedPipeline:
    """A pipeline at work, and what came out of it."""

    session: ScriptedSession
    decoder: ScriptedPreprocessor = field(default_factory=ScriptedPreprocessor)
    frame_queue: FrameQueue = field(default_factory=lambda: FrameQueue(100, 10_000, 100, is_large))
    results: queue.Queue[Result] = field(default_factory=queue.Queue)
    deaths: queue.Queue[tuple[str, BaseException]] = field(default_factory=queue.Queue)
    ready: threading.Event = field(default_factory=threading.Event)
    drained: threading.Event = field(default_factory=threading.Event)
    skipped: queue.Queue[None] = field(default_factory=queue.Queue)
    changes: ChangeDetector | None = None
    overlap: bool = True
    now: float = 0.0
    deliver_script: Callable[[], None] = lambda: None

    def start(self) -> ScriptedPipeline:
        classifier = Classifier(
            self.decoder, self.session, TwoLabels(), top_k=2, overlap=self.overlap, clock=lambda: self.now
        )
        self.pipeline = Pipeline(
            self.frame_queue,
            lambda: classifier,
            self.deliver,
            self.ready.set,
            self.drained.set,
            lambda thread, error: self.deaths.put((thread, error)),
            clock=lambda: self.now,
            changes=self.changes,
            on_skipped=lambda frame: self.skipped.put(None),
        )
        self.pipeline.start()
        return self

    def deliver(self, result: Result) -> None:
        self.deliver_script()
        self.results.put(result)

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        give_up = time.monotonic() + SOON_S
        while not is_so():
            assert time.monotonic() < give_up
            time.sleep(0.001)

    def replace(self, script: Callable[[int], None] = lambda number: None) -> ScriptedSession:
        """Put another Session in the place of this one; returns that."""
        new = ScriptedSession(script=script)
        self.pipeline.replace(Classifier(self.decoder, new, TwoLabels(), top_k=1))
        return new

    def send(self, name: str, deadline: float | None = None) -> None:
        frame = Frame("zmq", b"x", None, 0.0, 0.0, id=name, deadline=deadline, request_id=1)
        assert self.frame_queue.offer(frame) is None

    def show(self, brightness: int, source: str = "camera") -> None:
        """A frame of a camera."""
        self.frame_queue.replace(Frame(source, b"x", None, 0.0, 0.0, id=brightness))

    def next(self) -> Result:
        return self.results.get(timeout=SOON_S)

"""A tuner whose time and whose conversions the test decides."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np

from incv3d.app.state import DaemonState
from incv3d.app.tuner import Tuner
from incv3d.app.tuning_conversion import ConversionOutcome
from incv3d.config.schema import Config
from incv3d.frames import Frame, Result
from incv3d.latency.rolling import RollingLatency
from incv3d.models.conversions import DESCRIPTION, describe, folder_name
from incv3d.models.entry import ModelError
from incv3d.models.store import FLATBUFFER, ModelStore
from incv3d.models.tuning import TuningJob, TuningVerdict
from processes import PATIENCE_S
from tunable_models import COMPARISON, scene

PERIOD_S = 1000.0
SOURCE = {"type": "v4l2", "name": "porch"}


def config(**session: object) -> Config:
    settings = {"source": SOURCE, "session": {"tune_over_s": PERIOD_S, **session}}
    return msgspec.convert(settings, Config)


class Bench:
    """A tuner whose time and whose conversions the test decides.

    :param answer: makes the verdict of a conversion; may raise.
    """

    def __init__(
        self, store: ModelStore, answer: Callable[[TuningJob], TuningVerdict], given: Config | None = None
    ) -> None:
        self.now, self.jobs, self.numbers = 0.0, [], iter(range(10_000))
        self.outcomes: queue.SimpleQueue[ConversionOutcome] = queue.SimpleQueue()
        self.store, self._answer = store, answer
        self.state = DaemonState(given or config(), phase="ready")
        facts = SimpleNamespace(engine="litert", precision="int8")
        self.state.loaded = SimpleNamespace(model="tunable", base="tunable", facts=facts)  # type: ignore[assignment]
        self.latency = RollingLatency(60, 100, 0.0)
        self.deaths: list[object] = []
        self.tuner = Tuner(
            self.state, store, self.latency, self.outcomes.put, lambda *death: self.deaths.append(death),
            run=self.run, clock=lambda: self.now,
        )  # fmt: skip
        self.tuner.begin()

    def run(self, job: TuningJob, heard: Any = None, started: Any = None) -> TuningVerdict:
        self.jobs.append(job)
        return self._answer(job)

    def show(self, frames: int, *, still: bool = False, dark: bool = False, request: bool = False) -> None:
        """Deliver results with frames of the source, each as soon as it is wanted."""
        for _ in range(frames):
            image = np.zeros((48, 64, 3), np.uint8) if dark else scene(0 if still else next(self.numbers))
            frame = Frame(
                "porch",
                image.tobytes(),
                "rgb24",
                self.now,
                self.now,
                64,
                48,
                request_id=1 if request else None,
            )
            tuning = self.tuner._tuning
            looks = tuning.distinct.looks if tuning else 0
            self.now += PERIOD_S
            self.tuner.offer(Result("porch", frame=frame, request_id=frame.request_id), True)
            if tuning and not request:
                wait_for(lambda: tuning.distinct.looks > looks and not tuning._is_busy)  # noqa: B023

    def convert(self) -> bool:
        """Let the conversion begin and end; return whether the model is to be loaded again."""
        self.tuner.look(self.now)
        assert self.tuner.status().state == "converting"
        return self.tuner.finish(self.outcomes.get(timeout=PATIENCE_S))


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for a thread that does not say when it is done."""
    tick = threading.Event()
    for _ in range(PATIENCE_S * 200):
        if condition():
            return
        tick.wait(0.005)
    raise AssertionError("it never happened")


def kept(job: TuningJob) -> TuningVerdict:
    """Store an int8 conversion, as the child does."""
    model = ModelStore(Path(job.store)).get(job.model)
    folder = model.directory / folder_name("int8")
    folder.mkdir()
    (folder / FLATBUFFER).write_bytes(b"int8")
    facts = describe(model, "int8", folder / FLATBUFFER, "by hand", 30, COMPARISON, None)
    (folder / DESCRIPTION).write_bytes(msgspec.json.encode(facts))
    return TuningVerdict(kept=True, complaint="", comparison=COMPARISON)


def rejected(job: TuningJob) -> TuningVerdict:
    return TuningVerdict(kept=False, complaint="it does not agree", comparison=COMPARISON)


def failed(job: TuningJob) -> TuningVerdict:
    raise ModelError("incv3d.tools.conversion.tuning was killed by signal 9")

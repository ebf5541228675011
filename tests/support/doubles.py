"""Doubles that ship with scripted behaviour, for queueing logic alone: no network, no waiting."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from incv3d.engines.base import Features, Pixels, Scores, SessionFacts
from incv3d.frames import Frame
from incv3d.models.labels import Label, Labels
from incv3d.sources import SourceAbsent, SourceError


class ScriptedSession:
    """A Session whose runs last until the test lets them go.

    :param held: True: each run waits for :meth:`release`; False: it returns at once.
    :param script: called before each run with its number, from 1; may raise.
    :param reentrant: whether several threads may run it at once.
    :param features: the length of its features, all 1.
    """

    def __init__(
        self,
        held: bool = False,
        script: Callable[[int], None] = lambda number: None,
        reentrant: bool = False,
        features: int = 0,
    ) -> None:
        self.runs = 0
        self.under_way = 0
        """Runs that have begun and not ended."""
        self.closed = False
        self.running = threading.Event()
        self._changed = threading.Condition()
        self._held = held
        self._facts = SessionFacts(
            "scripted", "double", "1", 1, 0.0, 0.0, reentrant=reentrant, features=features
        )
        self._script = script
        self._permits = threading.Semaphore(0)

    @property
    def facts(self) -> SessionFacts:
        return self._facts

    def wait_until_under_way(self, runs: int, timeout_s: float = 10) -> bool:
        """Whether so many runs are under way before the time is up."""
        with self._changed:
            return self._changed.wait_for(lambda: self.under_way == runs, timeout_s)

    def release(self, runs: int = 1) -> None:
        """Let so many runs end."""
        self._permits.release(runs)

    def run(self, pixels: Pixels) -> Scores:
        with self._changed:
            assert not self.closed, "run after it was closed: a real one would take the process along"
            self.runs += 1
            number = self.runs
            self.under_way += 1
            self._changed.notify_all()
        self.running.set()
        try:
            if self._held:
                assert self._permits.acquire(timeout=20), "nobody released the run"
            self.running.clear()
            self._script(number)
        finally:
            with self._changed:
                self.under_way -= 1
                self._changed.notify_all()
        return np.array([0.25, 0.75], np.float32)

    def run_with_features(self, pixels: Pixels) -> tuple[Scores, Features]:
        return self.run(pixels), np.ones(self._facts.features, np.float32)

    def close(self) -> None:
        with self._changed:
            assert not self.under_way, "closed while it runs: a real one would take the process along"
            self.closed = True
            self._changed.notify_all()

    def wait_until_closed(self, timeout_s: float = 10) -> bool:
        """Whether it is closed before the time is up."""
        with self._changed:
            return self._changed.wait_for(lambda: self.closed, timeout_s)


class TwoLabels(Labels):
    """Names for the two outputs of :class:`ScriptedSession`."""

    def __init__(self) -> None:
        super().__init__((Label(index, f"n{index}", f"label {index}") for index in range(2)), 2)


def jpeg(width: int = 32, height: int = 24, seed: int = 0) -> bytes:
    """A small JPEG."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()


class ScriptedCamera:
    """Opens sources that do what their script says, step by step.

    :param scripts: one an opening, the last one again for further openings. The steps of a script:
        ``frame``, ``none``, ``raise`` (a :class:`SourceError`), ``bug`` (another exception), ``lost`` (the
        driver counts a lost frame), ``silent`` (waits until it is interrupted), ``hang`` (waits until
        :meth:`let_go`, whatever happens, and then has a frame), ``wait`` (idles until the frame is wanted),
        ``idle`` (idles for half a second, and says so), ``held`` (waits for :meth:`go_on`). As the first
        step, ``absent`` (opening fails) and ``hang-opening`` (opening waits until :meth:`let_go`); after
        ``raise``, ``hang-closing``.
        After its last step a source is silent.
    """

    def __init__(self, *scripts: str) -> None:
        self._scripts = [script.split() for script in scripts]
        self._let_go = threading.Event()
        self.permits = threading.Semaphore(0)
        self.opened = 0
        self.closed = 0
        self.asked: list[float] = []

    def __call__(self) -> ScriptedSource:
        script = self._scripts[min(self.opened, len(self._scripts) - 1)]
        self.opened += 1
        if script[:1] == ["absent"]:
            raise SourceAbsent("not plugged in")
        source = ScriptedSource(self, self.opened, list(script))
        if script[:1] == ["hang-opening"]:
            self.hang()
        return source

    def let_go(self) -> None:
        """Let every call that hangs return."""
        self._let_go.set()

    def go_on(self) -> None:
        """Let one ``held`` step end."""
        self.permits.release()

    def hang(self) -> None:
        assert self._let_go.wait(60), "nobody let go"


class ScriptedSource:
    """One opening of a :class:`ScriptedCamera`; the id of a frame is `opening.number`."""

    def __init__(self, camera: ScriptedCamera, opening: int, script: list[str]) -> None:
        self.lost_frames = 0
        self.idle_until = 0.0
        self._camera = camera
        self._opening = opening
        self._script = script
        self._frames = 0
        self._interrupted = threading.Event()
        self._closed = False

    def capture(self, after: float) -> Frame | None:
        self._camera.asked.append(after)
        while True:
            step = self._script.pop(0) if self._script else "silent"
            if step == "lost":
                self.lost_frames += 1
                continue
            if step == "hang-opening":
                continue
            if step in ("wait", "idle"):
                until = after if step == "wait" else time.monotonic() + 0.5
                self.idle_until = until if step == "idle" else 0.0
                if self._interrupted.wait(max(0.0, until - time.monotonic())):
                    return None
                continue
            if step == "held":
                while not self._camera.permits.acquire(timeout=0.01):
                    if self._interrupted.is_set():
                        return None
                continue
            if step == "hang":
                self._camera.hang()
            elif step == "silent":
                assert self._interrupted.wait(60), "nobody interrupted"
                return None
            elif step == "raise":
                raise SourceError("the cable is loose")
            elif step == "bug":
                raise AttributeError("no such thing")
            elif step == "none":
                return None
            else:
                assert step == "frame", step
            self._frames += 1
            now = time.monotonic()
            return Frame("camera", b"", None, now, now, id=f"{self._opening}.{self._frames}")

    def interrupt(self) -> None:
        assert not self._closed, "interrupted after it was closed: a real one may be gone"
        self._interrupted.set()

    def close(self) -> None:
        self._closed = True
        self._camera.closed += 1
        if self._script[:1] == ["hang-closing"]:
            self._camera.hang()

"""Doubles that ship with scripted behaviour, for queueing logic alone: no network, no waiting."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable

import numpy as np
from PIL import Image

from incv3d.frames import Prediction
from incv3d.sessions.base import Pixels, Scores, SessionFacts


class ScriptedSession:
    """A Session whose runs last until the test lets them go.

    :param held: True: each run waits for :meth:`release`; False: it returns at once.
    :param script: called before each run with its number, from 1; may raise.
    """

    def __init__(self, held: bool = False, script: Callable[[int], None] = lambda number: None) -> None:
        self.runs = 0
        self.closed = False
        self.running = threading.Event()
        self._held = held
        self._script = script
        self._permits = threading.Semaphore(0)

    @property
    def facts(self) -> SessionFacts:
        return SessionFacts("scripted", "double", "1", 1, 0.0, 0.0)

    def release(self, runs: int = 1) -> None:
        """Let so many runs end."""
        self._permits.release(runs)

    def run(self, pixels: Pixels) -> Scores:
        self.runs += 1
        self.running.set()
        if self._held:
            assert self._permits.acquire(timeout=20), "nobody released the run"
        self.running.clear()
        self._script(self.runs)
        return np.array([0.25, 0.75], np.float32)

    def close(self) -> None:
        self.closed = True


class TwoLabels:
    """Names for the two outputs of :class:`ScriptedSession`."""

    def top_k(self, scores: Scores, k: int) -> tuple[Prediction, ...]:
        order = np.argsort(-scores)[:k]
        return tuple(Prediction(int(i), f"n{i}", f"label {i}", float(scores[i])) for i in order)


def jpeg(width: int = 32, height: int = 24, seed: int = 0) -> bytes:
    """A small JPEG."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()

"""Classify a frame: preprocess it, run the Session, rank the labels and time each step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from incv3d.engines.base import Feed, ImageArray, Scores, Session
from incv3d.frames import Frame, Prediction, Result, Timings
from incv3d.images.preprocess import Preprocessor

RUNS_AT_ONCE = 2
"""Concurrent runs in one Session. A second run fills the gaps of the first; a third adds only 2 to 5 % more
runs per second on two cores."""


class LabelSet(Protocol):
    """The labels of the network's outputs. Implemented by :class:`incv3d.models.labels.Labels`."""

    def top_k(self, scores: Scores, k: int) -> tuple[Prediction, ...]:
        """Return the `k` best predictions, best first."""

    def matching(self, pattern: str) -> tuple[int, ...]:
        """Return the indices of the outputs that match `pattern`, a name or a shell pattern."""

    def closest(self, pattern: str) -> list[str]:
        """Return the names whose spelling is closest to `pattern`."""


@dataclass(frozen=True, slots=True)
class PreparedFrame:
    """A decoded frame that waits for the Session."""

    frame: Frame
    feed: Feed
    decode_ms: float


class Classifier:
    """Classifies frames in two steps that can run in two threads: :meth:`prepare` and :meth:`classify`.

    :param top_k: number of predictions in a result, unless the frame asks for another number.
    :param logits: the network returns logits, which are converted to probabilities.
    :param binary: the network returns a single score, that of the second of two labels.
    :param overlap: allow two runs at once, if the Session supports it.
    """

    def __init__(
        self,
        preprocessor: Preprocessor,
        session: Session,
        labels: LabelSet,
        top_k: int,
        logits: bool = False,
        binary: bool = False,
        overlap: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.session = session
        self.labels = labels
        self.runs_at_once = RUNS_AT_ONCE if overlap and session.facts.reentrant else 1
        """The number of threads that may call :meth:`classify` at once."""
        self.preprocessor = preprocessor
        self._top_k = top_k
        self._logits = logits
        self._binary = binary
        self._clock = clock

    def in_range(self, low: float, high: float) -> Classifier:
        """Return a classifier over the same Session that maps pixels 0 to 255 to `low` to `high`."""
        preprocessor = self.preprocessor.in_range(low, high)
        return Classifier(preprocessor, self.session, self.labels, self._top_k, self._logits, self._binary)

    def close(self) -> None:
        """Close the Session."""
        self.session.close()

    def prepare(self, frame: Frame) -> PreparedFrame:
        """Decode `frame` and convert it to the input of the model or of its graph.

        :raises ImageError: the frame cannot be decoded.
        """
        started = self._clock()
        feed = self.preprocessor(frame)
        return PreparedFrame(frame, feed, (self._clock() - started) * 1000)

    def prepare_if(self, is_wanted: Callable[[ImageArray], bool], frame: Frame) -> PreparedFrame | None:
        """Prepare `frame` if its decoded image `is_wanted`; else return None, at the cost of decoding alone.

        :raises ImageError: the frame cannot be decoded.
        """
        started = self._clock()
        image = self.preprocessor.decode(frame)
        if not is_wanted(image):
            return None
        feed = self.preprocessor.feed(image)
        return PreparedFrame(frame, feed, (self._clock() - started) * 1000)

    def classify(self, prepared: PreparedFrame) -> Result:
        """Run the Session on a prepared frame and return its predictions.

        :raises BadFeed: the graph decodes the frame itself, and cannot.
        :raises SessionError: the run failed.
        """
        frame = prepared.frame
        started = self._clock()
        scores = self.session.run(prepared.feed)
        ended = self._clock()
        if self._logits or self._binary:
            scores = probabilities(scores, self._logits, self._binary)
        predictions = self.labels.top_k(scores, frame.top_k or self._top_k)
        run_ms = (ended - started) * 1000
        total_ms = (ended - frame.received) * 1000
        timings = Timings(
            queue_ms=max(0.0, total_ms - prepared.decode_ms - run_ms),
            decode_ms=prepared.decode_ms,
            run_ms=run_ms,
            total_ms=total_ms,
            age_ms=(ended - frame.captured) * 1000,
        )
        return Result(frame.source, frame.id, frame.request_id, predictions, timings, frame=frame)


def probabilities(scores: Scores, logits: bool, binary: bool) -> Scores:
    """Return one probability per label: ``(labels,) float32``.

    :param logits: `scores` are logits.
    :param binary: `scores` has one element, the score of the second of two labels.
    """
    if binary:
        # A single logit is that of the second label; the first label's is 0.
        pair = np.concatenate((np.zeros_like(scores) if logits else 1 - scores, scores))
        return softmax(pair) if logits else pair
    return softmax(scores) if logits else scores


def softmax(logits: Scores) -> Scores:
    """Return the probabilities of `logits`: ``(outputs,) float32`` with a sum of 1.

    Subtracts the largest first, so that no exponential overflows. NaN stays NaN.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        exponentials: Scores = np.exp(logits - logits.max())
        exponentials /= exponentials.sum()
    return exponentials

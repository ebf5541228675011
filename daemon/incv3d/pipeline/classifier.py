"""A frame to its labels: the preprocessing, the Session, the labels and the clock put together."""

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
"""Runs that may be under way in one Session: a second fills the gaps of the first, and a third finds few left
(2 to 5 % more runs a second, on two cores)."""


class LabelSet(Protocol):
    """What the scores are of; :class:`incv3d.models.labels.Labels` is."""

    def top_k(self, scores: Scores, k: int) -> tuple[Prediction, ...]:
        """The `k` best, best first."""

    def matching(self, pattern: str) -> tuple[int, ...]:
        """The outputs that `pattern`, a name or a shell pattern, names."""

    def closest(self, pattern: str) -> list[str]:
        """The names that are spelled most like `pattern`."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A frame that is decoded and waits for the Session."""

    frame: Frame
    feed: Feed
    decode_ms: float


class Classifier:
    """A frame to its labels, in two steps that two threads can take: :meth:`prepare` and :meth:`classify`.

    :param top_k: how many predictions a result has when its frame does not say.
    :param logits: whether the network gives logits, which become probabilities.
    :param binary: whether it gives one score only, that of the second of two labels.
    :param overlap: whether one run may begin before another has ended, if the Session bears it.
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
        """How many threads may :meth:`classify` at once."""
        self.preprocessor = preprocessor
        self._top_k = top_k
        self._logits = logits
        self._binary = binary
        self._clock = clock

    def in_range(self, low: float, high: float) -> Classifier:
        """Return one over the same Session that makes `low` of a pixel of 0 and `high` of one of 255."""
        preprocessor = self.preprocessor.in_range(low, high)
        return Classifier(preprocessor, self.session, self.labels, self._top_k, self._logits, self._binary)

    def close(self) -> None:
        """Close its Session."""
        self.session.close()

    def prepare(self, frame: Frame) -> Prepared:
        """Decode `frame` and bring it to the model's input, or to what its graph itself takes.

        :raises PictureError: when it cannot be decoded.
        """
        started = self._clock()
        feed = self.preprocessor(frame)
        return Prepared(frame, feed, (self._clock() - started) * 1000)

    def prepare_if(self, is_wanted: Callable[[ImageArray], bool], frame: Frame) -> Prepared | None:
        """The same if its decoded picture `is_wanted`, else None: then it cost no more than decoding.

        :raises PictureError: when it cannot be decoded.
        """
        started = self._clock()
        picture = self.preprocessor.decode(frame)
        if not is_wanted(picture):
            return None
        feed = self.preprocessor.feed(picture)
        return Prepared(frame, feed, (self._clock() - started) * 1000)

    def classify(self, prepared: Prepared) -> Result:
        """Run the Session on a prepared frame and name what it saw.

        :raises BadFeed: when the graph itself decodes the frame, and cannot.
        :raises SessionError: when the run fails.
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
        return Result(frame.source, frame.id, frame.ticket, predictions, timings, frame=frame)


def probabilities(scores: Scores, logits: bool, binary: bool) -> Scores:
    """Return one probability for each label: ``(labels,) float32``.

    :param logits: whether the network gives logits.
    :param binary: whether it gives one score only, that of the second of two labels.
    """
    if binary:
        # A logit is that of the second label over a first one of 0.
        pair = np.concatenate((np.zeros_like(scores) if logits else 1 - scores, scores))
        return softmax(pair) if logits else pair
    return softmax(scores) if logits else scores


def softmax(logits: Scores) -> Scores:
    """Probabilities of `logits`: ``(outputs,) float32``, whose sum is 1.

    The largest is subtracted first, so that no exponential overflows; what is not a number stays none.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        exponentials: Scores = np.exp(logits - logits.max())
        exponentials /= exponentials.sum()
    return exponentials

"""Classify a frame: preprocess it, run the Session, rank the labels and time each step."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from incv3d.engines.base import Feed, ImageArray, Scores, Session
from incv3d.frames import Frame, Prediction, Result, Timings
from incv3d.images.preprocess import Preprocessor
from incv3d.models.labels import Labels
from incv3d.pipeline.variants import LabelSet, Variant, Variants

RUNS_AT_ONCE = 2
"""Concurrent runs in one Session. A second run fills the gaps of the first; a third adds only 2 to 5 % more
runs per second on two cores."""


@dataclass(frozen=True, slots=True)
class PreparedFrame:
    """A decoded frame that waits for the Session."""

    frame: Frame
    feed: Feed
    decode_ms: float
    variant: Variant
    """How it was prepared, and will be ranked, whatever is in force by then."""


class Classifier:
    """Classifies frames in two steps that can run in two threads: :meth:`prepare` and :meth:`classify`.

    :param labels: those of the network's outputs.
    :param top_k: number of predictions in a result, unless the frame asks for another number.
    :param logits: the network returns logits, which are converted to probabilities.
    :param binary: the network returns a single score, that of the second of two labels.
    :param overlap: allow two runs at once, if the Session supports it.
    """

    def __init__(
        self,
        preprocessor: Preprocessor,
        session: Session,
        labels: Labels,
        top_k: int,
        logits: bool = False,
        binary: bool = False,
        overlap: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.session = session
        self.variants = Variants(Variant(preprocessor), labels)
        """How frames are prepared and ranked; may be replaced at any time, and the next frame follows it."""
        self.runs_at_once = RUNS_AT_ONCE if overlap and session.facts.reentrant else 1
        """The number of threads that may call :meth:`classify` at once."""
        self.preprocessor = preprocessor
        self._base_labels = labels
        self._alone = contextlib.nullcontext() if session.facts.reentrant else threading.Lock()
        """Held during a run, if the Session runs one at a time: a reload checks a new head between frames."""
        self._top_k = top_k
        self._logits = logits
        self._binary = binary
        self._clock = clock

    def in_range(self, low: float, high: float) -> Classifier:
        """Return a classifier over the same Session that maps pixels 0 to 255 to `low` to `high`."""
        preprocessor = self.preprocessor.in_range(low, high)
        labels = self._base_labels
        return Classifier(preprocessor, self.session, labels, self._top_k, self._logits, self._binary)

    @property
    def labels(self) -> LabelSet:
        """All labels that predictions can have."""
        return self.variants.labels

    @property
    def base_labels(self) -> Labels:
        """The labels of the network's outputs."""
        return self._base_labels

    def close(self) -> None:
        """Close the Session."""
        self.session.close()

    def prepare(self, frame: Frame, variant: Variant | None = None) -> PreparedFrame:
        """Decode `frame` and convert it to the input of the model or of its graph.

        :param variant: None: that of its source.
        :raises ImageError: the frame cannot be decoded.
        """
        started = self._clock()
        variant = variant or self.variants.of(frame.source)
        feed = variant.preprocessor(frame)
        return PreparedFrame(frame, feed, (self._clock() - started) * 1000, variant)

    def prepare_if(self, is_wanted: Callable[[ImageArray], bool], frame: Frame) -> PreparedFrame | None:
        """Prepare `frame` if its decoded image `is_wanted`; else return None, at the cost of decoding alone.

        :raises ImageError: the frame cannot be decoded.
        """
        started = self._clock()
        variant = self.variants.of(frame.source)
        image = variant.preprocessor.decode(frame)
        if not is_wanted(image):
            return None
        feed = variant.preprocessor.feed(image)
        return PreparedFrame(frame, feed, (self._clock() - started) * 1000, variant)

    def classify(self, prepared: PreparedFrame) -> Result:
        """Run the Session on a prepared frame and return its predictions.

        :raises BadFeed: the graph decodes the frame itself, and cannot.
        :raises SessionError: the run failed.
        :raises ModelError: the scores are not numbers, or do not fit the labels or the head.
        """
        frame, variant = prepared.frame, prepared.variant
        with self._alone:
            started = self._clock()
            scores, features = self.session.run_with_features(prepared.feed)
            ended = self._clock()
        k = frame.top_k or self._top_k
        head = variant.head
        wanted = max(frame.base_top_k or 0, 0 if head else k)
        base = self._rank(scores, wanted) if wanted else ()
        run_ms = (ended - started) * 1000
        total_ms = (ended - frame.received) * 1000
        timings = Timings(
            queue_ms=max(0.0, total_ms - prepared.decode_ms - run_ms),
            decode_ms=prepared.decode_ms,
            run_ms=run_ms,
            total_ms=total_ms,
            age_ms=(ended - frame.captured) * 1000,
        )
        return Result(
            frame.source,
            frame.id,
            frame.request_id,
            head.rank(features, k) if head else base[:k],
            base_predictions=base[: frame.base_top_k] if frame.base_top_k else None,
            model=variant.model,
            timings=timings,
            frame=frame,
            features=features if features.size else None,
        )

    def _rank(self, scores: Scores, k: int) -> tuple[Prediction, ...]:
        if self._logits or self._binary:
            scores = probabilities(scores, self._logits, self._binary)
        return self._base_labels.top_k(scores, k)


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

"""Keep frames that a taught model is unsure of, or does not know, until their owner decides."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from incv3d.engines.base import Features
from incv3d.frames import Frame, Prediction, Result
from incv3d.models.taught.head import UNKNOWN, normalize

UNSURE = 0.6
"""A best score below this is unsure."""
MOST_FRAMES = 60
MOST_BYTES = 8 * 1024 * 1024
"""Bytes of all frames that wait; the oldest give way."""
BURST_S = 10.0
"""Unsure frames of a source that follow each other faster are one burst, and one of them is kept."""
ALIKE = 0.97
"""The cosine of two frames' features from which one of them suffices."""


@dataclass(frozen=True, slots=True)
class Review:
    """A frame that waits for its owner's decision."""

    id: str
    frame: Frame
    predictions: tuple[Prediction, ...]
    at_unix_s: float
    """When the frame was captured."""

    @property
    def nearest(self) -> str:
        """The most probable class."""
        return next(each.label for each in self.predictions if each.label != UNKNOWN)


class ReviewQueue:
    """Frames to be reviewed, one of each burst, bounded in number and bytes. Any thread may call it.

    :param to_unix: converts a monotonic time to seconds since 1970.
    """

    def __init__(self, to_unix: Callable[[float], float]) -> None:
        self._to_unix = to_unix
        self._lock = threading.Lock()
        self._reviews: OrderedDict[str, tuple[Review, Features]] = OrderedDict()
        self._unsure_at: dict[str, float] = {}
        """By source: when its last unsure frame was captured (monotonic)."""
        self._count = 0
        self.revision = 0
        """Grows with every change."""

    def __len__(self) -> int:
        return len(self._reviews)

    def offer(self, result: Result) -> bool:
        """Keep the frame of a result if it needs a review; return whether it was kept."""
        frame, features = result.frame, result.features
        if frame is None or features is None or not is_unsure(result) or len(frame.data) > MOST_BYTES:
            return False
        unit = normalize(features)
        with self._lock:
            before = self._unsure_at.get(result.source)
            self._unsure_at[result.source] = frame.captured
            is_burst = before is not None and frame.captured - before < BURST_S
            if is_burst or any(float(unit @ other) > ALIKE for _, other in self._reviews.values()):
                return False
            self._count += 1
            self.revision += 1
            at = self._to_unix(frame.captured)
            review = Review(f"review-{self._count}", frame, result.predictions, at)
            self._reviews[review.id] = (review, unit)
            self._drop_oldest()
            return True

    def waiting(self) -> list[Review]:
        """Return the frames that wait, the latest first."""
        with self._lock:
            return [review for review, _ in reversed(self._reviews.values())]

    def get(self, review_id: str) -> Review | None:
        """Return the frame with that id; None: it was decided on, or gave way to later ones."""
        with self._lock:
            found = self._reviews.get(review_id)
        return found[0] if found else None

    def remove(self, review_id: str) -> None:
        """Remove a frame, which was decided on."""
        with self._lock:
            self._reviews.pop(review_id, None)
            self.revision += 1

    def clear(self) -> None:
        """Remove all: they were classified by another model."""
        with self._lock:
            self._reviews.clear()
            self.revision += 1
            self._unsure_at.clear()

    def _drop_oldest(self) -> None:
        while len(self._reviews) > MOST_FRAMES or self._size_bytes() > MOST_BYTES:
            self._reviews.popitem(last=False)

    def _size_bytes(self) -> int:
        return sum(len(review.frame.data) for review, _ in self._reviews.values())


def is_unsure(result: Result) -> bool:
    """Return whether a taught model did not know the frame, or gave its best class a low score."""
    if not result.predictions:
        return False
    best = result.predictions[0]
    return best.label == UNKNOWN or best.score < UNSURE

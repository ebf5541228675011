"""What a transport may ask the daemon to do to its taught model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec


class ClassCount(msgspec.Struct, frozen=True, kw_only=True):
    """A class of the teaching set."""

    name: str
    pictures: int


class TrainingProgress(msgspec.Struct, frozen=True, kw_only=True):
    """What the training is doing."""

    step: str
    """In words: ``features``."""
    done: int = 0
    total: int = 0
    """0: unknown."""


class ReportSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What the page shows of a report."""

    accuracy: dict[str, Any] | None
    """The share with its interval; None: unknown."""
    guessing: float
    classes: list[dict[str, Any]]
    text: str
    """The whole report, as the command prints it."""


class TeachingStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The teaching set, and the training."""

    name: str = ""
    """The taught model; empty: none was begun yet."""
    base: str = ""
    in_use: bool = False
    """Whether frames are classified by it."""
    classes: Sequence[ClassCount] = ()
    revision: int = 0
    """Grows with every change of the pictures."""
    changes: int = 0
    """Pictures that were added, moved or deleted since the last training."""
    undo: str = ""
    """What ``undo`` would take back, in words; empty: nothing."""
    review: int = 0
    """Frames that wait to be reviewed."""
    review_revision: int = 0
    """Grows with every change of these."""
    training: TrainingProgress | None = None
    problem: str = ""
    """Why the last training was not taken over; empty: it was."""
    report: ReportSummary | None = None
    """That of the last training that was taken over."""


class PictureInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A picture of the teaching set."""

    id: str
    source: str
    at: float
    """When it was captured or added, in seconds since 1970."""


class ReviewInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A frame that waits to be reviewed."""

    id: str
    source: str
    at: float
    """When it was captured, in seconds since 1970."""
    label: str
    """The best label: ``unknown``, or a class with a low score."""
    score: float
    nearest: str
    """The most probable class."""


class Teacher(Protocol):
    """The teaching set of the running daemon. Any thread may call it; most calls read or write the disk.

    :class:`~incv3d.teaching.errors.TeachingError` says what is wrong with a request.
    """

    def status(self) -> TeachingStatus:
        """Return the state of the teaching set and of the training."""

    def begin(self, name: str) -> None:
        """Begin a teaching set for a model called `name`, on the model that runs."""

    def capture(self, source: str, class_name: str) -> str:
        """Add the latest frame of `source` to a class, and return the picture's id."""

    def add(self, data: bytes, class_name: str) -> str:
        """Add an encoded image to a class, and return the picture's id."""

    def pictures(self, class_name: str) -> list[PictureInfo]:
        """Return the pictures of a class, the latest first."""

    def picture(self, picture_id: str) -> bytes:
        """Return a picture, reduced in size, as a JPEG."""

    def move(self, picture_ids: Sequence[str], class_name: str) -> None:
        """Move pictures to another class, which may be new."""

    def delete(self, picture_ids: Sequence[str]) -> None:
        """Delete pictures; the last deletion can be undone."""

    def undo(self) -> None:
        """Take back the last change of the teaching set."""

    def reviews(self) -> list[ReviewInfo]:
        """Return the frames that wait to be reviewed, the latest first."""

    def review_image(self, review_id: str) -> bytes:
        """Return such a frame, reduced in size, as a JPEG."""

    def decide(self, review_ids: Sequence[str], class_name: str | None) -> None:
        """Add frames to a class, or, for None, dismiss them."""

    def train(self, force: bool = False) -> None:
        """Train on the teaching set, in a child process, and take the result over.

        :param force: take it over even if it is worse than the head in use.
        """

    def use(self) -> None:
        """Classify with the taught model, also after a restart."""

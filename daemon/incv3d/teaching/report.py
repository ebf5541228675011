"""Report how good a head is on pictures that it has not seen, and what would make it better."""

from __future__ import annotations

import msgspec

from incv3d.teaching.errors import TeachingError
from incv3d.teaching.intervals import Share
from incv3d.teaching.suspects import Suspect

FORMAT = 1
ENOUGH_GROUPS = 5
"""Groups of each class from which an estimate is taken seriously."""
IMBALANCE = 3.0
"""A larger ratio between the largest and the smallest class is reported."""
HELPS = 0.01
"""If the second half of the pictures brought more accuracy than this, more pictures would help."""


class ClassReport(msgspec.Struct, frozen=True, kw_only=True):
    """One class."""

    name: str
    images: int = msgspec.field(name="pictures")
    groups: int
    recall: Share | None
    """The share of its pictures that got it, when left out; None: it has one group, which cannot be left
    out."""


class LearningPoint(msgspec.Struct, frozen=True, kw_only=True):
    """The accuracy with a part of the pictures."""

    share: float
    images: int = msgspec.field(name="pictures")
    """Of the whole teaching set."""
    accuracy: float
    recalls: tuple[float | None, ...]
    """Of each class."""


class TestResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the head said of test pictures, which it was not taught."""

    accuracy: Share
    matrix: tuple[tuple[int, ...], ...]
    refused: float
    """The share of them that are unknown to it."""


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """What was said of a picture when it was left out; kept to compare this head with the next."""

    sha256: str
    said: str
    group: int


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What was noticed about the files of a teaching set, by their names."""

    damaged: tuple[str, ...] = ()
    """Pictures that cannot be read, with the reason; they are left out."""
    ignored: tuple[str, ...] = ()
    """Files that are no pictures, with the reason; they are left out."""
    small: tuple[str, ...] = ()
    dark: tuple[str, ...] = ()
    duplicates: tuple[str, ...] = ()
    """Pictures that are there twice, each with its twin; one of them is left out."""
    contradictory: tuple[str, ...] = ()
    """The same picture in two classes; both are left out."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The new head beside the one before, on the pictures that both were asked when they were left out."""

    images: int = msgspec.field(name="pictures")
    before: float
    now: float
    is_worse: bool
    """Whether it is worse by more than chance explains."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How good a head is, and on what it was taught."""

    format: int = FORMAT
    classes: tuple[ClassReport, ...]
    images: int = msgspec.field(name="pictures")
    groups: int
    accuracy: Share | None
    """The share of left-out pictures that got their class; None: no class has two groups."""
    mean_recall: Share | None
    """The mean over the classes of their recalls: what is left if rare classes count as much."""
    guessing: float
    """The accuracy of always saying the largest class."""
    better_than_guessing: bool | None
    """None: too few groups to say."""
    matrix: tuple[tuple[int, ...], ...]
    """Left-out pictures by their class (rows) and by what was said (columns)."""
    learning: tuple[LearningPoint, ...]
    """The accuracy at a quarter, at half and at all of the pictures."""
    suspects: tuple[Suspect, ...]
    known_refused: float | None
    """The share of left-out pictures that are unknown to the head."""
    strangers_refused: float | None = None
    """The share of pictures of other things that are unknown; None: none were given."""
    findings: Findings = msgspec.field(default_factory=Findings)
    test: TestResult | None = None
    comparison: Comparison | None = None
    took_s: dict[str, float] = msgspec.field(default_factory=dict)
    """Seconds by step."""
    answers: tuple[Answer, ...] = ()

    @property
    def imbalance(self) -> float:
        """How many times larger the largest class is than the smallest."""
        counts = [each.images for each in self.classes]
        return max(counts) / min(counts)

    @property
    def can_take_over(self) -> bool:
        """Whether it may replace the head before without a person's consent."""
        return self.better_than_guessing is not False and not (self.comparison and self.comparison.is_worse)


def read_report(data: bytes) -> Report:
    """Return the report that was encoded as JSON.

    :raises TeachingError: it is damaged, or a newer version wrote it.
    """
    try:
        return msgspec.json.decode(data, type=Report)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TeachingError(f"the report of the taught model is damaged ({error}); teach it again") from None

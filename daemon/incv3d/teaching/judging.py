"""Judge a head by what was said of pictures that had not taught it."""

from __future__ import annotations

import math

import numpy as np

from incv3d.models.taught.head import Head, normalize
from incv3d.teaching.estimate import FOLDS, Choice
from incv3d.teaching.examples import TeachingArrays
from incv3d.teaching.familiarity import Limits, familiarity_to
from incv3d.teaching.intervals import Share, share_of
from incv3d.teaching.logistic import Floats, Indices
from incv3d.teaching.report import (
    ENOUGH_GROUPS,
    Answer,
    ClassReport,
    Comparison,
    LearningPoint,
    Report,
    TestResult,
)
from incv3d.teaching.suspects import find_suspects

OVERLAP = 1 / (FOLDS - 1)
SURE = 1.645
"""Standard deviations that 95 % of what chance does stay below."""


def judge(
    taught: TeachingArrays, choice: Choice, limits: Limits, learning: tuple[LearningPoint, ...]
) -> Report:
    """Return the report of a head."""
    left_out, y, groups = choice.left_out, taught.y, taught.groups
    asked, said = left_out.asked, left_out.said
    hits = (said == y).astype(np.float32)
    counts = np.bincount(y, minlength=len(taught.classes))
    classes = tuple(
        ClassReport(
            name=name,
            images=int(counts[at]),
            groups=len(np.unique(groups[y == at])),
            recall=share_of(hits[asked & (y == at)], groups[asked & (y == at)], OVERLAP),
        )
        for at, name in enumerate(taught.classes)
    )
    mean_recall = mean_of(classes)
    known = limits.familiarities[asked]
    return Report(
        classes=classes,
        images=len(y),
        groups=len(np.unique(groups)),
        accuracy=share_of(hits[asked], groups[asked], OVERLAP),
        mean_recall=mean_recall,
        guessing=float(counts.max() / counts.sum()),
        better_than_guessing=_is_better_than_guessing(classes, mean_recall),
        matrix=confusions(y[asked], said[asked], len(classes)),
        learning=learning,
        suspects=tuple(find_suspects(left_out, choice.scale, y, taught.names, taught.classes)),
        known_refused=float(np.mean(known < limits.threshold)) if asked.any() else None,
        answers=tuple(
            Answer(taught.sha256s[at], taught.classes[said[at]], int(groups[at]))
            for at in np.flatnonzero(asked).tolist()
            if taught.sha256s[at]
        ),
    )


def mean_of(classes: tuple[ClassReport, ...]) -> Share | None:
    """Return the mean recall of the classes, with an interval; None: not every class has one.

    The interval is made of those of the recalls (Zou, Donner: Construction of confidence limits about effect
    measures, 2008): the squares of the distances to their ends add up.
    """
    recalls = [each.recall for each in classes if each.recall]
    if len(recalls) < len(classes):
        return None
    value = sum(each.value for each in recalls) / len(recalls)
    below = math.hypot(*(each.value - each.low for each in recalls)) / len(recalls)
    above = math.hypot(*(each.high - each.value for each in recalls)) / len(recalls)
    return Share(
        value=value,
        low=value - below,
        high=value + above,
        images=sum(each.images for each in recalls),
        groups=sum(each.groups for each in recalls),
    )


def _is_better_than_guessing(classes: tuple[ClassReport, ...], mean_recall: Share | None) -> bool | None:
    """Return whether it surely knows more than nothing; None: too few groups to say.

    Guessing gives a mean recall of one in as many as there are classes, however it guesses.
    """
    if mean_recall is None or min(each.groups for each in classes) < ENOUGH_GROUPS:
        return None
    return mean_recall.low > 1 / len(classes)


def confusions(y: Indices, said: Indices, classes: int) -> tuple[tuple[int, ...], ...]:
    """Return how many pictures of each class (rows) were given to each (columns)."""
    counts = np.bincount(y * classes + said, minlength=classes * classes)
    return tuple(tuple(row) for row in counts.reshape(classes, classes).tolist())


def share_refused(head: Head, features: Floats) -> float:
    """Return the share of pictures that are unknown to `head`, from their features, one row each."""
    return float(np.mean(familiarity_to(head.gallery, normalize(features)) < head.threshold))


def judge_tests(head: Head, tests: TeachingArrays) -> TestResult:
    """Return what `head` says of pictures that had not taught it."""
    said = ((tests.unit - head.center) @ head.weights + head.bias).argmax(axis=1)
    accuracy = share_of((said == tests.y).astype(np.float32), tests.groups)
    assert accuracy, "there are tests"
    return TestResult(
        accuracy=accuracy,
        matrix=confusions(tests.y, said, len(tests.classes)),
        refused=float(np.mean(familiarity_to(head.gallery, tests.unit) < head.threshold)),
    )


def compare(before: Report, now: Report, labels: dict[str, str]) -> Comparison | None:
    """Compare what two heads said of the same pictures when these were left out; None: there are none.

    It is worse if more groups lost than won, by more than chance explains: a sign test of the groups.

    :param labels: the class of each picture by its checksum, as it is now: an owner may have corrected it.
    """
    old = {each.sha256: each.said for each in before.answers}
    both = [each for each in now.answers if each.sha256 in old]
    if not both:
        return None
    won = np.array([each.said == labels[each.sha256] for each in both], np.float64)
    had = np.array([old[each.sha256] == labels[each.sha256] for each in both], np.float64)
    groups = np.unique([each.group for each in both], return_inverse=True)[1].reshape(-1)
    balance = np.sign(np.bincount(groups, weights=won - had))
    lost, changed = -float(balance.sum()), float(np.abs(balance).sum())
    return Comparison(
        images=len(both),
        before=float(had.mean()),
        now=float(won.mean()),
        is_worse=bool(lost > SURE * np.sqrt(changed)),
    )

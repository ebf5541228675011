"""Teach: from the features of pictures to a head and a report."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from incv3d.models.taught.head import Head
from incv3d.teaching import judging
from incv3d.teaching.estimate import Choice, choose, leave_out, part_of, split
from incv3d.teaching.examples import Example, TeachingArrays, to_arrays
from incv3d.teaching.familiarity import Limits, find_limits
from incv3d.teaching.logistic import Floats, Indices, Span, fit, span_of
from incv3d.teaching.report import Findings, LearningPoint, Report

KNOWN_LOST = 0.05
"""The share of known pictures that a head may refuse as unknown."""
PARTS = (0.25, 0.5, 1.0)
"""Parts of the pictures for which the accuracy is estimated."""
MOST_TRIED = 100
"""Pictures that are tried as the golden one."""
SEED = 0

Progress = Callable[[str, int, int], None]
"""Called with the step, how many steps are done, and how many there are."""
STEPS = ("group", "estimate", "teach", "report")


@dataclass(frozen=True, slots=True)
class Trained:
    """A new head, and what is known about it."""

    head: Head
    report: Report
    golden: Example | None
    """A picture to test the head with at every start; None: it gives none of them its class."""


def train(
    examples: Sequence[Example],
    *,
    tests: Sequence[Example] = (),
    strangers: Sequence[Floats] = (),
    before: Report | None = None,
    findings: Findings | None = None,
    known_lost: float = KNOWN_LOST,
    progress: Progress = lambda step, done, total: None,
) -> Trained:
    """Teach a head, and estimate how good it is. The same examples give the same head.

    :param tests: pictures of the same classes that do not teach.
    :param strangers: features of pictures of other things, which the head should refuse.
    :param before: the report of the head that this one would replace.
    :param findings: what was noticed while the pictures were read, for the report.
    :param known_lost: the share of known pictures that may be refused as unknown.
    :raises UnusableSet: the examples cannot teach anything.
    :raises ModelError: a class has a name that is not allowed.
    """
    watch = _Stopwatch(progress)
    with watch.step("group"):
        taught = to_arrays(examples)
    with watch.step("estimate"):
        span = span_of(taught.unit)
        fold = split(taught.y, taught.groups, SEED)
        choice = choose(span.coordinates, taught.y, taught.groups, len(taught.classes), fold)
        learning = _learning(span.coordinates, taught, fold, choice)
    with watch.step("teach"):
        limits = find_limits(taught.unit, taught.y, taught.groups, choice.left_out.asked, known_lost, SEED)
        head = _make_head(taught, span, choice, limits)
    with watch.step("report"):
        report = judging.judge(taught, choice, limits, learning)
        labels = {each.sha256: each.label for each in examples}
        others = {
            "findings": findings or Findings(),
            "strangers_refused": judging.share_refused(head, np.array(strangers)) if len(strangers) else None,
            "test": judging.judge_tests(head, to_arrays(tests, head.classes)) if tests else None,
            "comparison": judging.compare(before, report, labels) if before else None,
        }
        golden = _surest(head, taught)
    report = msgspec.structs.replace(report, took_s=watch.took_s, **others)
    return Trained(head, report, None if golden is None else examples[golden])


def _make_head(taught: TeachingArrays, span: Span, choice: Choice, limits: Limits) -> Head:
    linear = fit(span.coordinates, taught.y, len(taught.classes), choice.strength)
    scale = np.float32(choice.scale)
    return Head(
        classes=taught.classes,
        center=span.basis @ linear.center,
        weights=span.basis @ linear.weights * scale,
        bias=linear.bias * scale,
        gallery=taught.unit[limits.gallery],
        threshold=limits.threshold,
        spread=limits.spread,
    )


def _learning(x: Floats, taught: TeachingArrays, fold: Indices, choice: Choice) -> tuple[LearningPoint, ...]:
    """Return the accuracy that heads reach on left-out pictures if a part of the others teaches them."""
    points = []
    y, count = taught.y, len(taught.classes)
    asked = choice.left_out.asked
    fewest = (
        min(len(np.unique(taught.groups[asked & (y == at)])) for at in np.unique(y[asked]))
        if asked.any()
        else 0
    )
    for part in PARTS:
        if round(part * fewest) < 2:  # leaving one out must leave one
            continue
        left_out, pictures = choice.left_out, len(y)
        if part < 1:
            teaches = part_of(y, taught.groups, fold, part, SEED)
            left_out, pictures = leave_out(x, y, count, fold, choice.strength, teaches), int(teaches.sum())
        hits = (left_out.said == y)[asked]
        recalls = [hits[y[asked] == at] for at in range(count)]
        points.append(
            LearningPoint(
                share=part,
                images=pictures,
                accuracy=float(hits.mean()),
                recalls=tuple(float(each.mean()) if len(each) else None for each in recalls),
            )
        )
    return tuple(points)


def _surest(head: Head, taught: TeachingArrays) -> int | None:
    """Return the picture that `head` gives its class, and is not unknown to it, with the largest margin."""
    logits = (taught.unit - head.center) @ head.weights + head.bias
    rows = np.arange(len(taught.y))
    own = logits[rows, taught.y].copy()
    logits[rows, taught.y] = -np.inf
    for at in np.argsort(logits.max(axis=1) - own)[:MOST_TRIED].tolist():
        if head.rank(taught.unit[at], 1)[0].index == taught.y[at]:
            return int(at)
    return None


@dataclass(slots=True)
class _Stopwatch:
    """Measures steps, and tells of their progress."""

    progress: Progress
    took_s: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.progress(name, len(self.took_s), len(STEPS))
        started = time.perf_counter()
        yield
        self.took_s[name] = round(time.perf_counter() - started, 4)

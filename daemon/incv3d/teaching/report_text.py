"""Write a report as plain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from incv3d.teaching.intervals import Share
from incv3d.teaching.report import ENOUGH_GROUPS, HELPS, IMBALANCE, Findings, Report

SMALL = "less than half as large as what the model looks at"
FEW_NAMES = 3
"""The most small pictures that are named; little can be done about them."""
MOST_NAMES = 30
"""The most files of one kind that are named; the rest are counted."""


def report_lines(report: Report) -> list[str]:
    """Return `report` as lines of text."""
    return [
        *_accuracy(report),
        "",
        *_classes(report),
        "",
        *_matrix([each.name for each in report.classes], report.matrix, "left out"),
        *_learning(report),
        *_unknown(report),
        *_test(report),
        *_comparison(report),
        *_advice(report),
        *_suspects(report),
        *_findings(report.findings),
        *_times(report),
    ]


def _accuracy(report: Report) -> Iterator[str]:
    yield f"{report.images} pictures in {report.groups} groups, {len(report.classes)} classes"
    if report.accuracy is None:
        yield (
            "accuracy: not known: every class has only one group (pictures of one burst are one group); "
            "take more pictures at another time"
        )
        return
    without = [each.name for each in report.classes if each.recall is None]
    of = f", without {_and(without)}, of which there is only one group" if without else ""
    yield f"accuracy on pictures it has not seen: {_share(report.accuracy)}{of}"
    yield f"always saying the most frequent class: {report.guessing:.1%}"
    if report.better_than_guessing is False:
        yield "It is not better than guessing."
    elif report.better_than_guessing is None:
        yield (
            f"These figures are rough: an estimate needs {ENOUGH_GROUPS} groups of each class, that is, "
            "pictures from as many occasions."
        )


def _share(share: Share) -> str:
    return f"{share.value:.1%} (95 % interval {share.low:.0%} to {share.high:.0%}, {share.groups} groups)"


def _classes(report: Report) -> Iterator[str]:
    rows = [("class", "pictures", "groups", "recognized", "95 % interval")]
    for each in report.classes:
        recall = each.recall
        rows.append(
            (
                each.name,
                str(each.images),
                str(each.groups),
                f"{recall.value:.1%}" if recall else "not known",
                f"{recall.low:.0%} to {recall.high:.0%}" if recall else "one group",
            )
        )
    yield from _columns(rows)


def _matrix(names: Sequence[str], matrix: Sequence[Sequence[int]], what: str) -> Iterator[str]:
    if any(map(any, matrix)):
        head = (f"{what}, was \\ said", *names)
        rows = [(name, *(str(count) for count in row)) for name, row in zip(names, matrix, strict=True)]
        yield from _columns([head, *rows])


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows of text as columns, the first of them left-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [each.rjust(width) for each, width in zip(others, widths[1:], strict=True)]
        yield "  ".join([first.ljust(widths[0]), *cells])


def _learning(report: Report) -> Iterator[str]:
    if len(report.learning) < 2:  # too few groups to leave some of them out
        return
    points = ", ".join(f"{each.accuracy:.1%} with {each.images}" for each in report.learning)
    yield ""
    yield f"accuracy by number of pictures: {points}"
    half, whole = report.learning[-2:]
    helped = [
        name
        for name, before, now in zip(
            [each.name for each in report.classes], half.recalls, whole.recalls, strict=True
        )
        if before is not None and now is not None and now - before > HELPS
    ]
    if helped and whole.accuracy - half.accuracy > HELPS:
        yield f"More pictures of {_and(helped)} would still help, from other occasions."


def _unknown(report: Report) -> Iterator[str]:
    if report.known_refused is not None:
        yield f"known pictures refused as unknown: {report.known_refused:.1%}"
    if report.strangers_refused is not None:
        yield (
            f"pictures of other things refused: {report.strangers_refused:.1%}; "
            "near relatives of a class that were never taught may pass"
        )


def _test(report: Report) -> Iterator[str]:
    if report.test:
        yield ""
        yield f"on the test pictures: {_share(report.test.accuracy)}, {report.test.refused:.1%} refused"
        yield from _matrix([each.name for each in report.classes], report.test.matrix, "test")


def _comparison(report: Report) -> Iterator[str]:
    if report.comparison:
        before, now = report.comparison.before, report.comparison.now
        verdict = "It is worse than the head before." if report.comparison.is_worse else ""
        yield (
            f"on the {report.comparison.images} pictures that the head before was judged by: "
            f"{before:.1%} then, {now:.1%} now. {verdict}".rstrip()
        )


def _advice(report: Report) -> Iterator[str]:
    if report.imbalance > IMBALANCE:
        largest = max(report.classes, key=lambda each: each.images)
        smallest = min(report.classes, key=lambda each: each.images)
        yield (
            f"{largest.name} has {report.imbalance:.0f} times as many pictures as {smallest.name}: "
            f"add pictures of {smallest.name}"
        )
    few = [each.name for each in report.classes if each.groups < ENOUGH_GROUPS]
    if few:
        yield f"{_and(few)}: fewer than {ENOUGH_GROUPS} groups; add pictures from other occasions"


def _suspects(report: Report) -> Iterator[str]:
    if report.suspects:
        yield ""
        yield "perhaps in the wrong folder, the likeliest first:"
        yield from _named(
            [
                f"{each.name}: looks like {each.looks_like} ({each.probability:.0%})"
                for each in report.suspects
            ]
        )


def _findings(findings: Findings) -> Iterator[str]:
    kinds = (
        ("damaged, left out", findings.damaged),
        ("in two classes, left out", findings.contradictory),
        ("there twice, left out", findings.duplicates),
        ("no pictures, left out", findings.ignored),
        (SMALL, findings.small),
        ("nearly black", findings.dark),
    )
    for kind, names in kinds:
        if names:
            yield f"{kind}: {len(names)}"
            yield from _named(names, FEW_NAMES if kind == SMALL else MOST_NAMES)


def _named(names: Sequence[str], most: int = MOST_NAMES) -> Iterator[str]:
    yield from (f"  {name}" for name in names[:most])
    if len(names) > most:
        yield f"  and {len(names) - most} more"


def _times(report: Report) -> Iterator[str]:
    if report.took_s:
        yield ""
        yield "took " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in report.took_s.items())


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)

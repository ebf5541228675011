"""Answer questions about the history: which visits, how many by hour or day, which labels."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from incv3d.history.database import HOUR_MS, HistoryError, connect, names_of
from incv3d.history.visit import Visit
from incv3d.history.writer import CountedVisit, tally

By = Literal["hour", "day"]
MOST_VISITS = 1000
"""The most visits in one answer."""
MOST_ROWS = 10_000
"""The most hours or days in one answer: a year of hours."""


@dataclass(frozen=True, slots=True)
class Question:
    """What of the history is asked for."""

    since_ms: int = 0
    until_ms: int = 2**62
    label: str = ""
    """A label or a synset; empty: all."""
    source: str = ""
    """A source, with its regions, or one region; empty: all."""


@dataclass(frozen=True, slots=True)
class Count:
    """What was seen in an hour or a day of local time."""

    begin_s: float
    """In seconds since 1970."""
    visits: int
    """Visits that began in it."""
    seconds: float


@dataclass(frozen=True, slots=True)
class LabelCount:
    """What was seen of a label, at one source."""

    label: str
    synset: str
    source: str
    visits: int
    seconds: float
    first_ms: int
    """When it was first seen, ever."""
    last_ms: int


class HistoryReader:
    """Reads the file while the daemon writes it. For one thread, with :meth:`close` or in a ``with``.

    Every method raises HistoryError if the file cannot be read.

    :raises HistoryError: there is no history, or it cannot be read.
    """

    def __init__(self, path: Path, now_s: Callable[[], float] = time.time) -> None:
        self._path = path
        self._now_s = now_s
        self._connection = connect(path, writable=False)

    def __enter__(self) -> HistoryReader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def visits(self, question: Question, most: int = MOST_VISITS) -> list[Visit]:
        """Return the visits that were there in the period, the newest first; those that last come first."""
        with self._explained():
            names = names_of(self._connection)
            where, values = self._chosen(question)
            lasting = self._connection.execute(
                f"SELECT entered_ms, source, label, best, NULL, '', image FROM present "
                f"WHERE entered_ms < ? {where} ORDER BY entered_ms DESC LIMIT ?",
                (question.until_ms, *values, most),
            ).fetchall()
            ended = self._connection.execute(
                "SELECT entered_ms, source, label, best, duration_ms, reason, image FROM visits "
                f"WHERE id >= ? AND entered_ms < ? {where} ORDER BY id DESC LIMIT ?",
                (question.since_ms, question.until_ms, *values, most - len(lasting)),
            ).fetchall()
            ended.sort(key=lambda row: -row[0])
        return [
            Visit(
                names[source][0],
                *names[label],
                entered_ms,
                best,
                None if duration_ms is None else duration_ms / 1000,
                reason,
                image,
            )
            for entered_ms, source, label, best, duration_ms, reason, image in lasting + ended
        ]

    def counts(self, question: Question, by: By) -> list[Count]:
        """Return how much was seen in each hour or day of the period, oldest first, without empty ones.

        Whole hours are counted, also at the ends of the period.
        """
        with self._explained():
            where, values = self._chosen(question)
            first, last = question.since_ms // HOUR_MS, (question.until_ms - 1) // HOUR_MS
            rows = self._connection.execute(
                f"SELECT hour, sum(visits), sum(seconds) FROM hours WHERE hour BETWEEN ? AND ? {where} "
                "GROUP BY hour",
                (first, last, *values),
            ).fetchall()
            recent, _ = tally(self._uncounted(question))
        summed: dict[float, list[float]] = defaultdict(lambda: [0, 0.0])
        rows += [(hour, *values) for (hour, _, _), values in recent.items() if first <= hour <= last]
        for hour, visits, seconds in rows:
            found = summed[_begin_s(hour, by)]
            found[0] += visits
            found[1] += seconds
        counts = [Count(begin, int(visits), seconds) for begin, (visits, seconds) in sorted(summed.items())]
        return counts[-MOST_ROWS:]

    def labels(self, question: Question) -> list[LabelCount]:
        """Return what was seen of each label at each source in the period, the most frequent first.

        Whole hours are counted, also at the ends of the period.
        """
        with self._explained():
            names = names_of(self._connection)
            where, values = self._chosen(question)
            first, last = question.since_ms // HOUR_MS, (question.until_ms - 1) // HOUR_MS
            totals = {
                (label, source): [visits, seconds, first_ms, last_ms]
                for label, source, visits, seconds, first_ms, last_ms in self._connection.execute(
                    f"SELECT label, source, visits, seconds, first_ms, last_ms FROM totals WHERE 1 {where}",
                    values,
                )
            }
            hours, recent = tally(self._uncounted(question))
            for key, (visits, seconds, first_ms, last_ms) in recent.items():
                total = totals.setdefault(key, [0, 0.0, first_ms, last_ms])
                total[0] += visits
                total[1] += seconds
                total[2:] = [min(total[2], first_ms), max(total[3], last_ms)]
            if question.since_ms or question.until_ms < 2**62:
                counted = [
                    row
                    for table, begin, end in _spans(first, last)
                    for row in self._connection.execute(
                        f"SELECT label, source, sum(visits), sum(seconds) FROM {table} "
                        f"WHERE {table[:-1]} BETWEEN ? AND ? {where} GROUP BY label, source",
                        (begin, end, *values),
                    )
                ]
                counted += [
                    (label, source, *values)
                    for (hour, source, label), values in hours.items()
                    if first <= hour <= last
                ]
                totals = _within(totals, counted)
        found = [
            LabelCount(*names[label], names[source][0], int(visits), seconds, int(first_ms), int(last_ms))
            for (label, source), (visits, seconds, first_ms, last_ms) in totals.items()
        ]
        return sorted(found, key=lambda each: (-each.visits, -each.seconds, each.label, each.source))

    def back_up(self, path: Path) -> None:
        """Copy the history to a file of its own, while the daemon writes on.

        :raises HistoryError: the file cannot be written.
        """
        unfinished = path.with_name(f".{path.name}.unfinished")
        try:
            with contextlib.closing(sqlite3.connect(unfinished)) as copy:
                self._connection.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")
            unfinished.replace(path)
        except (sqlite3.Error, OSError) as error:
            unfinished.unlink(missing_ok=True)
            raise HistoryError(f"{path}: the history cannot be copied: {error}") from None

    def _uncounted(self, question: Question) -> list[CountedVisit]:
        """Return the visits that are not in the counts yet, and those that last."""
        where, values = self._chosen(question)
        now_ms = round(self._now_s() * 1000)
        ended = self._connection.execute(
            "SELECT entered_ms, source, label, duration_ms FROM visits "
            f"WHERE id > (SELECT until_id FROM counted) {where}",
            values,
        ).fetchall()
        lasting = self._connection.execute(
            f"SELECT entered_ms, source, label, max(0, ? - entered_ms) FROM present WHERE 1 {where}",
            (now_ms, *values),
        ).fetchall()
        return ended + lasting

    def _chosen(self, question: Question) -> tuple[str, list[int]]:
        """Return a condition for the label and the source, and its values."""
        names = names_of(self._connection)
        where, values = "", []
        if question.label:
            wanted = question.label.casefold()
            found = [n for n, (name, synset) in names.items() if wanted in (name.casefold(), synset)]
            where += f" AND label IN ({','.join('?' * len(found))})"
            values += found
        if question.source:
            source = question.source
            found = [n for n, (name, _) in names.items() if name == source or name.startswith(f"{source}.")]
            where += f" AND source IN ({','.join('?' * len(found))})"
            values += found
        return where, values

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise HistoryError(f"{self._path}: cannot be read: {error}") from error


def _begin_s(hour: int, by: By) -> float:
    """Return when the hour, or its day of local time, begins."""
    if by == "hour":
        return hour * 3600.0
    moment = datetime.fromtimestamp(hour * 3600)
    return (moment - timedelta(hours=moment.hour, minutes=moment.minute)).timestamp()


def _spans(first: int, last: int) -> list[tuple[str, int, int]]:
    """Return the rows of the tables ``hours`` and ``days`` that together are these hours."""
    first_day, next_day = -(-first // 24), (last + 1) // 24
    if first_day >= next_day:
        return [("hours", first, last)]
    return [
        ("hours", first, 24 * first_day - 1),
        ("days", first_day, next_day - 1),
        ("hours", 24 * next_day, last),
    ]


def _within(
    totals: dict[tuple[int, int], list[float]], counted: list[tuple[int, int, float, float]]
) -> dict[tuple[int, int], list[float]]:
    """Return the totals with the visits and seconds of a period, without those that have none."""
    found: dict[tuple[int, int], list[float]] = {}
    for label, source, visits, seconds in counted:
        each = found.setdefault((label, source), [0, 0.0, *totals[label, source][2:]])
        each[0] += visits
        each[1] += seconds
    return found

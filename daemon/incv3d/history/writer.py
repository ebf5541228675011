"""Write visits into the file, and count them by hour."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from incv3d.history.database import DAY_MS, HOUR_MS, connect, names_of
from incv3d.history.visit import Visit

CountedVisit = tuple[int, int, int, int]
"""When a visit began, in ms, the numbers of source and label, and how long it was, in ms."""
Hours = dict[tuple[int, int, int], list[float]]
"""By hour, source and label: visits that entered in it, and seconds."""
Totals = dict[tuple[int, int], list[float]]
"""By label and source: visits, seconds, when the first and the last one entered."""


class HistoryWriter:
    """Adds visits to the file, counts them, and keeps it within its bounds. For one thread.

    Every method raises :class:`sqlite3.Error` if it fails; then it has changed nothing.

    :raises HistoryError: the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._connection = connect(path, writable=True)
        self._names: dict[tuple[str, str], int] = {}

    def end_lost_visits(self) -> None:
        """End the visits during which the daemon was killed, with the last thing that is known."""
        with self._changing():
            self._end_lost_visits()

    def write(self, ended: Iterable[Visit], present: Iterable[Visit]) -> None:
        """Add visits that have ended, and replace those that have not."""
        with self._changing():
            for visit in ended:
                self._add(visit)
            rows = [
                (
                    self._number(each.source, ""),
                    self._number(each.label, each.synset),
                    each.entered_ms,
                    each.best,
                    each.image,
                )
                for each in present
            ]
            before = self._connection.execute("SELECT * FROM present ORDER BY source, label").fetchall()
            if sorted(rows) != before:
                self._connection.execute("DELETE FROM present")
                self._connection.executemany("INSERT INTO present VALUES (?, ?, ?, ?, ?)", rows)

    def add(self, visits: Iterable[Visit]) -> None:
        """Add visits that have ended."""
        with self._changing():
            for visit in visits:
                self._add(visit)

    def images(self) -> set[str]:
        """Return the names of all images."""
        return {row[0] for row in self._connection.execute("SELECT image FROM visits WHERE image != ''")}

    def count(self) -> None:
        """Add the visits that are not yet counted to the counts by hour and in all."""
        with self._changing():
            rows = self._connection.execute(
                "SELECT id, entered_ms, source, label, duration_ms FROM visits WHERE id > ? ORDER BY id",
                (self._counted_until(),),
            ).fetchall()
            if rows:
                add_up(self._connection, [row[1:] for row in rows])
                self._connection.execute("UPDATE counted SET until_id = ?", (rows[-1][0],))

    def prune(self, oldest_ms: int, most_bytes: int) -> int:
        """Delete visits that left before `oldest_ms`, and the oldest while the file is too large.

        :returns: the number of deleted rows.
        """
        with self._changing():
            deleted = self._connection.execute(
                "DELETE FROM visits WHERE id < ? AND id <= ?", (oldest_ms, self._counted_until())
            ).rowcount
        while self.size_bytes > most_bytes:
            with self._changing():
                gone = self._delete_oldest("visits", "id") or self._delete_oldest("hours", "hour")
            deleted += gone
            if not gone:
                break
        return deleted

    @property
    def size_bytes(self) -> int:
        """The bytes in use in the file; deleted ones are used again."""
        pages, free, size = (
            self._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Change all or nothing."""
        try:
            with self._connection:
                yield
        except sqlite3.Error:
            self._names.clear()  # some may not be in the file
            raise

    def _add(self, visit: Visit) -> None:
        duration_ms = round((visit.duration_s or 0.0) * 1000)
        number = visit.entered_ms + duration_ms
        while self._connection.execute("SELECT 1 FROM visits WHERE id = ?", (number,)).fetchone():
            number += 1
        source, label = self._number(visit.source, ""), self._number(visit.label, visit.synset)
        self._connection.execute(
            "INSERT INTO visits VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (number, visit.entered_ms, source, label, visit.best, duration_ms, visit.reason, visit.image),
        )
        if number <= self._counted_until():  # the clock was put back
            add_up(self._connection, [(visit.entered_ms, source, label, duration_ms)])

    def _number(self, name: str, synset: str) -> int:
        key = name, synset
        if key not in self._names:
            self._connection.execute("INSERT OR IGNORE INTO names (name, synset) VALUES (?, ?)", key)
            found = self._connection.execute("SELECT id FROM names WHERE name = ? AND synset = ?", key)
            self._names[key] = found.fetchone()[0]
        return self._names[key]

    def _counted_until(self) -> int:
        return int(self._connection.execute("SELECT until_id FROM counted").fetchone()[0])

    def _end_lost_visits(self) -> None:
        rows = self._connection.execute(
            "SELECT source, label, entered_ms, best, image FROM present"
        ).fetchall()
        latest = self._connection.execute("SELECT max(id) FROM visits").fetchone()[0] or 0
        latest = max([latest, *(row[2] for row in rows)])
        names = names_of(self._connection)
        for source, label, entered_ms, best, image in rows:
            duration_s = (latest - entered_ms) / 1000 if latest - entered_ms < DAY_MS else 0.0
            self._add(Visit(names[source][0], *names[label], entered_ms, best, duration_s, "lost", image))
        self._connection.execute("DELETE FROM present")

    def _delete_oldest(self, table: str, key: str) -> int:
        """Delete the oldest twentieth of a table, at least a row; return the number of rows."""
        rows = self._connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        last = self._connection.execute(
            f"SELECT {key} FROM {table} ORDER BY {key} LIMIT 1 OFFSET ?", (max(rows // 20 - 1, 0),)
        ).fetchone()
        if not last:
            return 0
        return self._connection.execute(f"DELETE FROM {table} WHERE {key} <= ?", last).rowcount


def add_up(connection: sqlite3.Connection, rows: Iterable[CountedVisit]) -> None:
    """Add visits to the tables ``hours`` and ``totals``."""
    hours, totals = tally(rows)
    for table, length in (("hours", 1), ("days", 24)):
        connection.executemany(
            f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "visits = visits + excluded.visits, seconds = seconds + excluded.seconds",
            [(hour // length, *key, *values) for (hour, *key), values in hours.items()],
        )
    connection.executemany(
        "INSERT INTO totals VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
        "visits = visits + excluded.visits, seconds = seconds + excluded.seconds, "
        "first_ms = min(first_ms, excluded.first_ms), last_ms = max(last_ms, excluded.last_ms)",
        [(*key, *values) for key, values in totals.items()],
    )


def tally(rows: Iterable[CountedVisit]) -> tuple[Hours, Totals]:
    """Count visits by hour, and in all."""
    hours: Hours = defaultdict(lambda: [0, 0.0])
    totals: Totals = {}
    for entered_ms, source, label, duration_ms in rows:
        hours[entered_ms // HOUR_MS, source, label][0] += 1
        for hour, seconds in _by_hour(entered_ms, duration_ms):
            hours[hour, source, label][1] += seconds
        total = totals.setdefault((label, source), [0, 0.0, entered_ms, entered_ms])
        total[0] += 1
        total[1] += duration_ms / 1000
        total[2] = min(total[2], entered_ms)
        total[3] = max(total[3], entered_ms)
    return hours, totals


def _by_hour(entered_ms: int, duration_ms: int) -> Iterator[tuple[int, float]]:
    """Yield the hours of a visit, with the seconds in each."""
    begin, end = entered_ms, entered_ms + duration_ms
    while begin < end:
        hour = begin // HOUR_MS
        stop = min(end, (hour + 1) * HOUR_MS)
        yield hour, (stop - begin) / 1000
        begin = stop

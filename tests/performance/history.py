"""What a year of history takes: bytes on disk, time of each view, memory of the daemon, bytes written a day.

usage: python tests/performance/history.py [VISITS]

Makes a year with VISITS visits (a million) of 20 labels at two sources.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from incv3d.clock import timestamp_ms
from incv3d.config.events import EventsSection
from incv3d.config.schema import Config
from incv3d.history.answers import answer, make_request
from incv3d.history.recorder import HistoryRecorder
from incv3d.history.visit import Visit
from incv3d.history.writer import HistoryWriter
from incv3d.machine import private_memory_mb
from incv3d.protocol.events import EventMessage
from measuring import table

VISITS = 1_000_000
YEAR_S = 365 * 86_400.0
END_S = 1_796_126_400.0
LABELS = [f"label {number}" for number in range(20)]
SOURCES = ("door", "gate")
ROUNDS = 5
MINUTES_A_DAY = 1440
VIEWS = {
    "today by hour": (END_S - 86_400, "hour", ""),
    "a year by day": (END_S - YEAR_S, "day", ""),
    "a year by hour": (END_S - YEAR_S, "hour", ""),
    "a year by day, one label": (END_S - YEAR_S, "day", "label 7"),
    "labels of a year, with first and last": (END_S - 360 * 86_400, "label", ""),
    "labels of a month": (END_S - 30 * 86_400, "label", ""),
    "latest 60 visits": (END_S - YEAR_S, "visit", ""),
    "latest 60 visits of one label": (END_S - YEAR_S, "visit", "label 7"),
}


def visits_of_a_year(count: int) -> list[Visit]:
    chance = random.Random(7)
    moments = sorted(END_S - YEAR_S * chance.random() for _ in range(count))
    return [
        Visit(
            chance.choice(SOURCES),
            chance.choice(LABELS),
            "",
            round(moment * 1000),
            round(chance.random(), 3),
            round(chance.expovariate(1 / 20), 3),
            "unseen",
            f"{timestamp_ms(moment)}_door_label_0.89.jpg" if chance.random() < 0.3 else "",
        )
        for moment in moments
    ]


def make(path: Path, count: int) -> float:
    """Return the seconds that making the file took."""
    begin = time.perf_counter()
    writer = HistoryWriter(path)
    visits = visits_of_a_year(count)
    for start in range(0, count, 10_000):
        writer.add(visits[start : start + 10_000])
        writer.count()
    writer.close()
    return time.perf_counter() - begin


def view_ms(path: Path, since_s: float, by: str, label: str) -> float:
    taken = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        answer(path, make_request(since_s, END_S, label, "", by, 60))
        taken.append(1000 * (time.perf_counter() - begin))
    return statistics.median(taken)


def written_a_day(path: Path, visits_a_day: int) -> tuple[float, float, float]:
    """Record a day, minute by minute; return MB handed to the kernel, and MB of memory before and after."""
    moments = {"now": END_S + 3600.0, "minute": 0.0}
    config = Config(events=EventsSection(allow=["*"]))
    before = private_memory_mb() or 0.0
    recorder = HistoryRecorder(
        config, path, lambda *_: None, 0.0, lambda: moments["now"], lambda: moments["now"] - END_S
    )
    begin = wchar()
    chance = random.Random(8)
    for minute in range(MINUTES_A_DAY):
        due = visits_a_day * (minute + 1) // MINUTES_A_DAY - visits_a_day * minute // MINUTES_A_DAY
        for _ in range(due):
            source, label = chance.choice(SOURCES), chance.choice(LABELS)
            for happening, duration_s in (("entered", None), ("left", 12.0)):
                moments["now"] += 5
                recorder.take_event(
                    EventMessage(
                        v=1, event=happening, source=source, label=label, synset="", score=0.5, frames=3,
                        at=timestamp_ms(moments["now"]), duration_s=duration_s, best=0.9, reason="unseen",
                    ),
                    None,
                )  # fmt: skip
        waiting = time.monotonic() + 10
        while recorder.status()["history"]["waiting"] and time.monotonic() < waiting:
            time.sleep(0.001)
        moments["now"] = END_S + 3600.0 + 60 * (minute + 1)
    recorder.close(time.monotonic() + 10)
    return (wchar() - begin) / 1e6, before, private_memory_mb() or 0.0


def wchar() -> int:
    lines = Path("/proc/self/io").read_text("ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("wchar")))


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.sqlite"
        seconds = make(path, count)
        print(f"{count} visits in a year: {path.stat().st_size / 1e6:.1f} MB, made in {seconds:.0f} s\n")
        rows = [(name, f"{view_ms(path, *view):.0f}", "200") for name, view in VIEWS.items()]
        table("view", rows, ("ms", "wanted"))
        written_mb, before_mb, after_mb = written_a_day(path, count // 365)
        print(
            f"\na day of {count // 365} visits: {written_mb:.1f} MB written, "
            f"{after_mb - before_mb:.1f} MB of memory"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else VISITS)

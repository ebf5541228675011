"""What a log says of an hour or a day: counts exactly, percentiles within their bounds."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incv3d.frames import Refusal, Timings
from incv3d.latency.log_reader import LogEntry, Start, Window, parse_line
from incv3d.latency.log_summary import estimate_percentile, summarize, summarize_by_length
from incv3d.latency.log_writer import start_line, summary_line
from incv3d.latency.rolling import RollingLatency, percentile, spread
from incv3d.machine import Readings

MIDNIGHT = 1_767_225_600.0
HOUR_S = 3600.0


class Day:
    """A daemon's life: frames at random moments, and the lines that the real writer makes of them."""

    def __init__(
        self, seed: int, interval_s: float = 10.0, window_s: float = 60.0, frames: int = 1000
    ) -> None:
        self.runs_ms: list[float] = []
        self.busy = 0
        self._random = random.Random(seed)
        self._interval_s, self._window_s, self._frames = interval_s, window_s, frames

    def live(
        self, begin_s: float, for_s: float, fps: float = 1.0, readings: Readings | None = None
    ) -> Iterator[LogEntry]:
        """From a start to a clean stop."""
        yield entry(start_line(begin_s, "start", {"model": "m"}))
        rolling = RollingLatency(self._window_s, self._frames, begin_s)
        now, next_line = begin_s, begin_s + self._interval_s
        readings = readings or Readings(50.0, 0, 100.0)
        while (now := now + self._random.expovariate(fps)) < begin_s + for_s:
            while now >= next_line:
                yield entry(summary_line(next_line, rolling.summary(next_line), readings))
                next_line += self._interval_s
            self.runs_ms.append(self._random.lognormvariate(3, 0.3))
            rolling.record(now, Timings(run_ms=self.runs_ms[-1]))
            if self._random.random() < 0.1:
                rolling.count(now, Refusal.BUSY)
                self.busy += 1
        end_s = begin_s + for_s
        yield entry(summary_line(end_s, rolling.summary(end_s), readings))


def entry(line: str) -> LogEntry:
    return parse_line(line.encode() + b"\n")


@pytest.mark.parametrize("seed", range(5))
def test_windows_overlap_and_every_frame_is_counted_once(seed: int) -> None:
    day = Day(seed)
    period = summarize(list(day.live(MIDNIGHT, HOUR_S)))
    # A frame in the second of a border may be counted for both sides or for none.
    assert period.frames == pytest.approx(len(day.runs_ms), abs=10)
    assert period.busy == pytest.approx(day.busy, abs=5)
    assert period.covered_s == pytest.approx(HOUR_S, abs=60)
    assert period.run
    assert period.run.best_ms == pytest.approx(min(day.runs_ms), abs=0.06)
    assert period.run.worst_ms == pytest.approx(max(day.runs_ms), abs=0.06)
    assert period.run.avg_ms == pytest.approx(sum(day.runs_ms) / len(day.runs_ms), rel=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_percentiles_are_near_the_true_ones_and_their_bounds_hold(seed: int) -> None:
    day = Day(seed)
    runs = summarize(list(day.live(MIDNIGHT, HOUR_S))).run
    true = sorted(day.runs_ms)
    assert runs
    for estimate, percent in ((runs.p50, 50), (runs.p95, 95), (runs.p99, 99)):
        assert estimate.low_ms <= percentile(true, percent) <= estimate.high_ms
        assert estimate.ms == pytest.approx(percentile(true, percent), rel=0.08)


PARTS = st.lists(st.lists(st.floats(1, 1000), min_size=1, max_size=30), min_size=1, max_size=6)


@given(PARTS, st.sampled_from([50, 95, 99]))
def test_an_estimate_lies_between_its_bounds(parts, percent) -> None:
    known = [(len(part), found) for part in parts if (found := spread(part))]
    estimate = estimate_percentile(known, percent)
    assert estimate.low_ms <= estimate.ms <= estimate.high_ms


@given(st.lists(st.floats(1, 1000), min_size=1, max_size=30), st.sampled_from([50, 95, 99]))
def test_a_single_window_gives_its_own_percentiles(part, percent) -> None:
    found = spread(part)
    assert found
    exact = {50: found.p50_ms, 95: found.p95_ms, 99: found.p99_ms}[percent]
    assert estimate_percentile([(len(part), found)], percent).ms == pytest.approx(exact, abs=1e-6)


def test_many_fast_frames_outweigh_a_few_slow_ones() -> None:
    fast, slow = spread([10.0] * 50), spread([1000.0] * 50)
    assert fast and slow
    mixed = estimate_percentile([(990, fast), (10, slow)], 50)
    assert mixed.ms == pytest.approx(10, abs=1e-3) and (mixed.low_ms, mixed.high_ms) == (10, 1000)


def test_a_restart_ends_a_window_and_is_counted() -> None:
    day = Day(1)
    entries = [*day.live(MIDNIGHT, 605), *day.live(MIDNIGHT + 700, 333)]
    period = summarize(entries)
    assert period.starts == 2 and period.frames == pytest.approx(len(day.runs_ms), abs=20)
    assert period.covered_s == pytest.approx(605 + 333, abs=15)
    assert period.end_s - period.begin_s == pytest.approx(700 + 333, abs=1)


def test_another_model_ends_a_window_and_is_no_start() -> None:
    day = Day(7)
    entries = [*day.live(MIDNIGHT, 300), *day.live(MIDNIGHT + 300, 300)]
    entries = [
        Start(e.at_s, "reload", {}) if isinstance(e, Start) and e.at_s > MIDNIGHT else e for e in entries
    ]
    period = summarize(entries)
    assert (period.starts, period.reloads) == (1, 1)
    assert period.frames == pytest.approx(len(day.runs_ms), abs=20)


def test_a_clock_that_was_set_back_costs_no_frames() -> None:
    day = Day(2)
    entries = [*day.live(MIDNIGHT + 5000, 600), *list(day.live(MIDNIGHT, 600))[1:]]
    assert summarize(entries).frames == pytest.approx(len(day.runs_ms), abs=70)


def test_hours_add_up_to_the_whole() -> None:
    day = Day(3)
    entries = list(day.live(MIDNIGHT + 1800, 3 * HOUR_S))
    hours, total = summarize_by_length(entries, HOUR_S), summarize(entries)
    assert [hour.begin_s - MIDNIGHT for hour in hours] == [0, HOUR_S, 2 * HOUR_S, 3 * HOUR_S]
    assert sum(hour.frames for hour in hours) == total.frames
    assert sum(hour.starts for hour in hours) == 1
    assert hours[0].covered_s == pytest.approx(1800, abs=60)


def test_seldom_lines_cover_little_and_say_so() -> None:
    day = Day(4, interval_s=600, window_s=60)
    period = summarize(list(day.live(MIDNIGHT, HOUR_S)))
    assert period.covered_s == pytest.approx(6 * 60, abs=2)
    assert period.fps == pytest.approx(1, rel=0.2)


def test_counts_of_a_window_that_frames_cut_short_are_of_the_same_time() -> None:
    day = Day(5, frames=100)
    period = summarize(list(day.live(MIDNIGHT, 600, fps=20)))
    assert period.covered_s == pytest.approx(300, rel=0.2), "100 frames at 20 a second are half an interval"
    assert period.busy / period.frames == pytest.approx(day.busy / len(day.runs_ms), rel=0.35)


def test_the_hottest_and_all_that_was_throttled_is_kept() -> None:
    day = Day(6)
    entries = [
        *day.live(MIDNIGHT, 60, readings=Readings(81.5, 0x80008, 120)),
        *day.live(MIDNIGHT + 100, 60, readings=Readings(40, 0x10000, 110)),
        *day.live(MIDNIGHT + 200, 60, readings=Readings(None, None, None)),
    ]
    period = summarize(entries)
    assert (period.temp_max_c, period.throttled, period.rss_max_mb) == (81.5, 0x90008, 120)


def test_no_frames_have_no_run_times() -> None:
    rolling = RollingLatency(60, 10, 0.0)
    line = entry(summary_line(MIDNIGHT, rolling.summary(60.0), Readings(None, None, None)))
    period = summarize([line])
    assert isinstance(line, Window) and period.run is None and period.frames == 0 and period.fps == 0


def test_a_start_alone_is_a_period_too() -> None:
    period = summarize([Start(MIDNIGHT, "start", {})])
    assert period.starts == 1 and period.covered_s == 0 and period.fps == 0

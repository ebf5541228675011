"""Rolling statistics: percentiles, windows by count and by time, counters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from incv3d.frames import Refusal, Timings
from incv3d.latency.rolling import DROPPED, SKIPPED, RollingLatency, percentile, spread


def run_of(ms: float) -> Timings:
    return Timings(run_ms=ms, queue_ms=1, decode_ms=2, total_ms=ms + 3, age_ms=ms + 4)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(0, 100))
def test_a_percentile_is_the_same_as_numpys(values: list[float], percent: float) -> None:
    ordered = sorted(values)
    assert percentile(ordered, percent) == pytest.approx(np.percentile(ordered, percent), rel=1e-9, abs=1e-9)


def test_a_spread_names_best_worst_and_average() -> None:
    got = spread([4.0, 1.0, 2.0, 3.0])
    assert got and (got.best_ms, got.avg_ms, got.p50_ms, got.worst_ms) == (1.0, 2.5, 2.5, 4.0)
    assert spread([]) is None


def test_the_percentiles_of_a_spread_are_the_ones_that_they_are_called() -> None:
    got = spread([float(ms) for ms in range(1001)])
    assert got and (got.p50_ms, got.p95_ms, got.p99_ms) == (500, 950, 990)


def test_an_empty_window_has_no_spreads() -> None:
    summary = RollingLatency(60, 100, started=0.0).summary(5.0)
    assert (summary.frames, summary.fps, summary.run, summary.window_s) == (0, 0.0, None, 5.0)


def test_frames_leave_the_window_by_time() -> None:
    rolling = RollingLatency(60, 100, started=0.0)
    for second in range(100):
        rolling.record(float(second), run_of(second))
    summary = rolling.summary(100.0)
    assert summary.frames == 60 and summary.window_s == 60 and summary.fps == 1.0
    assert summary.run and summary.run.best_ms == 40


def test_frames_leave_the_window_by_count_and_the_window_says_what_it_covers() -> None:
    rolling = RollingLatency(60, 10, started=0.0)
    for second in range(50):
        rolling.record(float(second), run_of(second))
    summary = rolling.summary(50.0)
    assert summary.frames == 10 and summary.window_s == 10.0 and summary.fps == 1.0
    assert summary.run and summary.run.best_ms == 40


def test_each_duration_has_its_own_spread() -> None:
    rolling = RollingLatency(60, 10, started=0.0)
    rolling.record(1.0, run_of(10))
    summary = rolling.summary(2.0)
    spreads = (summary.queue, summary.decode, summary.run, summary.total, summary.age)
    assert [each and each.p95_ms for each in spreads] == [1, 2, 10, 13, 14]


def test_outcomes_are_counted_in_the_window_and_for_ever_in_the_totals() -> None:
    rolling = RollingLatency(60, 10, started=0.0)
    for outcome in (Refusal.BUSY, Refusal.EXPIRED, DROPPED, SKIPPED, Refusal.BAD_IMAGE, Refusal.INTERNAL):
        rolling.count(1.0, outcome)
    rolling.count(50.0, Refusal.BUSY)
    summary = rolling.summary(55.0)
    assert (summary.busy, summary.expired, summary.dropped, summary.errors) == (2, 1, 1, 2)
    assert summary.skipped == 1
    later = rolling.summary(80.0)
    assert (later.busy, later.expired, later.dropped, later.errors) == (1, 0, 0, 0)
    totals = rolling.totals()
    assert totals == dict.fromkeys(totals, 0) | {
        "busy": 2,
        "expired": 1,
        "dropped": 1,
        "skipped": 1,
        "bad_image": 1,
        "internal": 1,
    }
    assert {"ok", "too_large", "bad_request", "shutting_down"} <= set(totals)


def test_a_shutting_down_refusal_is_no_error() -> None:
    rolling = RollingLatency(60, 10, started=0.0)
    rolling.count(1.0, Refusal.SHUTTING_DOWN)
    assert rolling.summary(2.0).errors == 0


def test_a_flood_of_refusals_takes_one_counter_a_second() -> None:
    rolling = RollingLatency(60, 10, started=0.0)
    for number in range(100_000):
        rolling.count(number / 1000, Refusal.BUSY)
    assert len(rolling._by_second) <= 62
    assert rolling.summary(100.0).busy == pytest.approx(60_000, abs=1000)


def test_how_long_a_run_takes_is_the_median_of_the_latest_few() -> None:
    rolling = RollingLatency(60, 1000, started=0.0)
    assert rolling.latest_run_ms() is None
    for ms in [1000] * 50 + [5] * 7 + [6] + [7] * 7:
        rolling.record(1.0, run_of(ms))
    assert rolling.latest_run_ms() == 6


def test_outcomes_are_of_what_the_window_covers() -> None:
    rolling = RollingLatency(60, 10, started=0.0)
    for second in range(50):
        rolling.record(float(second), run_of(second))
        rolling.count(float(second), Refusal.BUSY)
    summary = rolling.summary(50.0)
    assert (summary.window_s, summary.frames, summary.busy) == (10.0, 10, 10)


def test_every_classified_frame_is_counted_once() -> None:
    rolling = RollingLatency(60, 10, started=0.0)
    for second in range(50):
        rolling.record(float(second), run_of(second))
    assert rolling.totals()["ok"] == 50


def test_another_model_begins_an_empty_window_and_totals_go_on() -> None:
    rolling = RollingLatency(60, 10, started=0.0)
    for second in range(50):
        rolling.record(float(second), run_of(1000))
        rolling.count(float(second), Refusal.BUSY)
    rolling.count(50.2, Refusal.BUSY)
    rolling.restart(50.5)
    assert rolling.latest_run_ms() is None
    rolling.record(51.0, run_of(5))
    summary = rolling.summary(54.5)
    assert (summary.window_s, summary.frames, summary.fps, summary.busy) == (4.0, 1, 0.25, 0)
    assert summary.run and summary.run.worst_ms == 5
    assert (rolling.totals()["ok"], rolling.totals()["busy"]) == (51, 51)


def test_a_window_of_another_size_keeps_what_fits() -> None:
    rolling = RollingLatency(60, 10, started=0.0)
    for second in range(50):
        rolling.record(float(second), run_of(second))
        rolling.count(float(second), Refusal.BUSY)
    rolling.resize(20, 4)
    summary = rolling.summary(50.0)
    assert (summary.frames, summary.window_s) == (4, 4.0)
    assert summary.run and summary.run.best_ms == 46
    rolling.resize(20, 1000)
    for second in range(50, 100):
        rolling.record(float(second), run_of(second))
        rolling.count(float(second), Refusal.BUSY)
    summary = rolling.summary(100.0)
    assert (summary.frames, summary.window_s, summary.busy) == (20, 20.0, 20)


def test_frames_on_the_edge_of_the_window_are_in_it() -> None:
    rolling = RollingLatency(60, 10, started=0.0)
    rolling.record(40.0, run_of(1))
    rolling.count(40.9, Refusal.BUSY)
    summary = rolling.summary(100.0)
    assert (summary.frames, summary.busy) == (1, 1)
    summary = rolling.summary(100.001)
    assert (summary.frames, summary.busy) == (0, 1), "outcomes are counted by the second"
    assert rolling.summary(101.0).busy == 0


def test_a_window_at_its_very_beginning_has_no_rate() -> None:
    rolling = RollingLatency(60, 10, started=5.0)
    rolling.record(5.0, run_of(1))
    assert rolling.summary(5.0).fps == 0.0 and rolling.summary(5.5).fps == 2.0

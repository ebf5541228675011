"""Reading latency logs: everything that the daemon writes comes back, and damage costs its line alone."""

from __future__ import annotations

import contextlib
import gzip
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incv3d.frames import Refusal, Timings
from incv3d.latency.log_reader import (
    DamagedLine,
    LogError,
    Start,
    Window,
    parse_line,
    parse_logfmt,
    read_history,
)
from incv3d.latency.log_writer import LatencyLog, logfmt, start_line, summary_line
from incv3d.latency.rolling import DROPPED, RollingLatency
from incv3d.machine import Readings

NOON = 1_767_268_800.0
KEYS = st.from_regex(r"[a-z][a-z0-9_]{0,15}", fullmatch=True)
VALUES = st.text(st.characters(codec="utf-8"), max_size=40).map(lambda text: " ".join(text.split()))
MS = st.floats(0, 100_000)
TIMINGS = st.builds(Timings, queue_ms=MS, decode_ms=MS, run_ms=MS, total_ms=MS, age_ms=MS)
OUTCOMES = st.sampled_from([Refusal.BUSY, Refusal.EXPIRED, Refusal.BAD_IMAGE, DROPPED])
READINGS = st.builds(
    Readings,
    st.none() | st.floats(-40, 120),
    st.none() | st.integers(0, 0xFFFFF),
    st.none() | st.floats(0, 1e6),
)


def line_of(at_s: float = NOON, **changes: str) -> str:
    rolling = RollingLatency(60, 100, started=0.0)
    rolling.record(30.0, Timings(run_ms=20))
    line = summary_line(at_s, rolling.summary(60.0), Readings(48.3, 0x50005, 431.6))
    for key, value in changes.items():
        fields = dict(pair.split("=") for pair in line.split(" "))
        assert key in fields, key
        line = line.replace(f"{key}={fields[key]}", f"{key}={value}")
    return line


def parse(text: str) -> Start | Window:
    return parse_line(text.encode() + b"\n")


@given(st.dictionaries(KEYS, VALUES.filter(lambda value: value != "na") | st.none(), max_size=8))
def test_logfmt_comes_back_as_it_was_written(fields) -> None:
    assert parse_logfmt(logfmt(fields)) == fields


@given(st.dictionaries(KEYS.filter(lambda key: key not in ("ts", "event")), VALUES, max_size=8))
def test_a_start_comes_back_with_its_facts(facts) -> None:
    found = parse(start_line(NOON, "start", facts))
    assert found == Start(
        NOON, "start", {key: None if value == "na" else value for key, value in facts.items()}
    )


@given(st.lists(TIMINGS, max_size=20), st.lists(OUTCOMES, max_size=10), READINGS)
def test_a_window_comes_back_within_the_rounding_of_its_line(timings, outcomes, readings) -> None:
    rolling = RollingLatency(60, 100, started=0.0)
    for each in timings:
        rolling.record(30.0, each)
    for outcome in outcomes:
        rolling.count(30.0, outcome)
    summary = rolling.summary(60.0)
    found = parse(summary_line(NOON, summary, readings))
    assert isinstance(found, Window)
    counts = (found.frames, found.dropped, found.busy, found.expired, found.errors)
    assert counts == (summary.frames, summary.dropped, summary.busy, summary.expired, summary.errors)
    assert found.at_s == NOON and found.window_s == 60.0 and found.throttled == readings.throttled
    if summary.run:
        assert found.run
        for name in ("best_ms", "avg_ms", "p50_ms", "p95_ms", "p99_ms", "worst_ms"):
            assert getattr(found.run, name) == pytest.approx(getattr(summary.run, name), abs=0.051)
        assert summary.age and found.age_p95_ms == pytest.approx(summary.age.p95_ms, abs=0.051)
    else:
        assert found.run is None and found.age_p95_ms is None
    assert (found.temp_c is None) == (readings.temp_c is None)
    assert found.rss_mb == (None if readings.rss_mb is None else pytest.approx(readings.rss_mb, abs=0.51))


@given(st.binary(max_size=300))
def test_whatever_a_line_is_it_is_read_or_damaged(data) -> None:
    with contextlib.suppress(DamagedLine):
        assert isinstance(parse_line(data), Start | Window)


@given(st.data())
def test_a_line_that_lost_a_byte_is_read_or_damaged(data) -> None:
    line = bytearray(line_of().encode() + b"\n")
    at = data.draw(st.integers(0, len(line) - 1))
    line[at : at + 1] = data.draw(st.binary(max_size=2))
    with contextlib.suppress(DamagedLine):
        assert isinstance(parse_line(bytes(line)), Start | Window)


@pytest.mark.parametrize(
    "changes",
    [
        {"frames": "-1"},
        {"frames": "1.5"},
        {"frames": "٣"},
        {"frames": "na"},
        {"window_s": "nan"},
        {"window_s": "inf"},
        {"fps": "x"},
        {"run_p95_ms": "1.0"},
        {"run_avg_ms": "900"},
        {"run_p50_ms": "na"},
        {"throttled": "0xzz"},
        {"ts": "2026-13-01T00:00:00Z"},
        {"ts": "na"},
    ],
)
def test_a_line_that_cannot_be_true_is_damaged(changes) -> None:
    with pytest.raises(DamagedLine):
        parse(line_of(**changes))


def test_another_model_while_it_ran_is_an_event_of_its_own() -> None:
    found = parse(start_line(NOON, "reload", {"model": "gamma"}))
    assert found == Start(NOON, "reload", {"model": "gamma"})


def test_keys_are_found_by_name_and_further_or_older_ones_do_not_matter() -> None:
    *pairs, last = line_of().split(" ")
    assert last == "skipped=0"
    newer = " ".join([pairs[0], *reversed(pairs[1:]), "tomorrows=key", "skipped=3"])
    found, older = parse(newer), parse(" ".join(pairs))
    assert isinstance(found, Window) and found.skipped == 3
    assert isinstance(older, Window) and older.skipped == 0 and older.run == found.run


def test_rotated_files_are_read_the_oldest_first(tmp_path: Path) -> None:
    path = tmp_path / "latency.log"
    log = LatencyLog(path, max_bytes=1000, keep=20)
    for number in range(20):
        log.write(line_of(at_s=NOON + number))
    log.close()
    assert (tmp_path / "latency.log.2").exists()
    oldest = max(tmp_path.iterdir(), key=lambda each: int(each.suffix[1:]) if each != path else 0)
    with gzip.open(f"{oldest}.gz", "wb") as packed:
        packed.write(oldest.read_bytes())
    oldest.unlink()
    (tmp_path / "latency.log.old").write_text("not one of them\n")
    (tmp_path / "latency.log.bak.1").write_text("not one of them\n")
    history = read_history(path)
    assert [entry.at_s for entry in history.entries] == [NOON + number for number in range(20)]
    assert history.files[-1] == path and history.files[0].suffix == ".gz" and history.damaged == 0
    assert [e.at_s for e in read_history(path, NOON + 18).entries] == [NOON + 18, NOON + 19]


def test_a_file_that_is_there_under_two_names_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "latency.log"
    path.write_text(line_of() + "\n")
    (tmp_path / "latency.log.1").hardlink_to(path)
    assert len(read_history(path).entries) == 1


def test_only_rotated_files_are_there(tmp_path: Path) -> None:
    (tmp_path / "latency.log.1").write_text(line_of() + "\n")
    assert len(read_history(tmp_path / "latency.log").entries) == 1


def test_damaged_lines_are_counted_and_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "latency.log"
    good = line_of().encode()
    path.write_bytes(
        good + b"\n\0\0\0\0\n\xff\xfe\nts=x\n\n" + b"a" * 50_000 + b"\n" + good + b"\n" + good[:-2]
    )
    history = read_history(path)
    assert len(history.entries) == 2 and history.damaged >= 6


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "no such file"),
        (b"\x7fELF\0\0", "not a latency log of incv3d"),
        (b"hello\n" * 20_000, "not a latency log of incv3d"),
    ],
)
def test_what_is_no_latency_log_is_one_line(tmp_path: Path, content, complaint) -> None:
    path = tmp_path / "latency.log"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LogError, match=complaint) as caught:
        read_history(path)
    assert str(path) in str(caught.value)


def test_a_folder_and_a_packed_file_that_is_damaged_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="Is a directory"):
        read_history(tmp_path)
    path = tmp_path / "latency.log"
    path.write_text(line_of() + "\n")
    for broken in (b"no gzip", gzip.compress(b"x" * 1000)[:-9]):
        (tmp_path / "latency.log.1.gz").write_bytes(broken)
        with pytest.raises(LogError, match=r"latency\.log\.1\.gz: cannot be read: "):
            read_history(path)


def test_an_empty_log_has_no_entries(tmp_path: Path) -> None:
    (tmp_path / "latency.log").touch()
    assert read_history(tmp_path / "latency.log").entries == ()


def test_timestamps_are_utc() -> None:
    moment = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()
    assert parse("ts=2026-01-01T12:00:00Z event=start").at_s == moment == NOON

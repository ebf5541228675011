"""When a source captures: by the sun or by the clock, on any day of the year, anywhere."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from incv3d.config.schema import Config, DaemonSection
from incv3d.config.source import SourceSection
from incv3d.sources.active_time import active_time, active_times

BERLIN = [52.52, 13.40]
TROMSO = [69.65, 18.96]
QUITO = [-0.18, -78.47]


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def local(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("place", "moment", "is_day"),
    [
        # Sunrise and sunset as almanacs give them (NOAA), with a few minutes to spare.
        (BERLIN, "2026-12-21T07:10", False),
        (BERLIN, "2026-12-21T07:20", True),
        (BERLIN, "2026-12-21T14:50", True),
        (BERLIN, "2026-12-21T15:00", False),
        (BERLIN, "2026-06-21T02:40", False),
        (BERLIN, "2026-06-21T02:50", True),
        (QUITO, "2026-03-20T11:05", False),
        (QUITO, "2026-03-20T11:30", True),
        # The sun does not set, and does not rise.
        (TROMSO, "2026-06-21T00:00", True),
        (TROMSO, "2026-12-21T11:00", False),
        ([90.0, 0.0], "2026-07-01T00:00", True),
        ([-90.0, 0.0], "2026-07-01T12:00", False),
    ],
)
def test_daylight_and_night_follow_the_sun(place: list[float], moment: str, is_day: bool) -> None:
    assert active_time("daylight", place)(utc(moment)) is is_day
    assert active_time("night", place)(utc(moment)) is not is_day


@pytest.mark.parametrize(
    ("hours", "moment", "is_active"),
    [
        ("06:00-20:00", "2026-12-01T05:59:59", False),
        ("06:00-20:00", "2026-12-01T06:00", True),
        ("06:00-20:00", "2026-12-01T20:00", False),
        ("20:00-06:00", "2026-12-01T23:00", True),
        ("20:00-06:00", "2026-12-01T05:59", True),
        ("20:00-06:00", "2026-12-01T12:00", False),
        ("00:00-23:59", "2026-12-01T23:59", False),
    ],
)
def test_hours_are_of_local_time_and_may_go_over_midnight(hours: str, moment: str, is_active: bool) -> None:
    assert active_time(hours, [])(local(moment)) is is_active


@pytest.mark.parametrize("active", ["daylight", "night", "06:00-20:00", "20:00-06:00"])
def test_until_the_clock_is_set_a_source_captures(active: str) -> None:
    assert active_time(active, BERLIN)(12.0)


def test_a_source_that_always_captures_needs_no_hours() -> None:
    sources = [
        SourceSection(type="v4l2", name="door"),
        SourceSection(type="v4l2", name="gate", active="daylight"),
    ]
    config = Config(sources=sources, daemon=DaemonSection(place=BERLIN))
    assert list(active_times(config)) == ["gate"]

"""Decide whether a source captures now: by the sun, or by the clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from incv3d.clock import CLOCK_SET_S
from incv3d.config.active import hours_of
from incv3d.config.schema import Config

IsActive = Callable[[float], bool]
"""Returns whether a source captures at a moment in seconds since 1970."""
SUNRISE_DEGREES = -0.833
"""The height of the sun's center when its upper edge appears, with the refraction of the air (NOAA)."""


def active_times(config: Config) -> Mapping[str, IsActive]:
    """Return when each source captures, by its name; a source that always does is left out."""
    sources = config.all_sources.values()
    return {each.name: active_time(each.active, config.daemon.place) for each in sources if each.active}


def active_time(active: str, place: list[float]) -> IsActive:
    """Return when a source with this setting captures.

    Before the clock of a machine is set, it always does.

    :param place: latitude and longitude in degrees, for settings that follow the sun.
    """
    hours = hours_of(active)
    if hours is None:
        return lambda now_s: now_s < CLOCK_SET_S or _is_day(place, now_s) == (active == "daylight")
    begin, end = hours

    def is_within(now_s: float) -> bool:
        local = datetime.fromtimestamp(now_s)
        minute = 60 * local.hour + local.minute
        is_inside = begin <= minute < end if begin < end else minute >= begin or minute < end
        return now_s < CLOCK_SET_S or is_inside

    return is_within


def _is_day(place: list[float], now_s: float) -> bool:
    """Return whether the sun is up; also right where it does not rise or set for weeks."""
    from astral import Observer  # here because few need it
    from astral.sun import elevation

    observer = Observer(latitude=place[0], longitude=place[1])
    return elevation(observer, datetime.fromtimestamp(now_s, UTC), with_refraction=False) > SUNRISE_DEGREES

"""When a source captures: ``active: daylight``, ``night``, or ``06:00-20:00``."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from incv3d.config.address import Address

SUN = ("daylight", "night")
HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
Active = Annotated[
    str, msgspec.Meta(description="empty, daylight, night, or hours of local time, such as 06:00-20:00")
]
Place = Annotated[
    list[float], msgspec.Meta(description="latitude and longitude in degrees, such as [52.5, 13.4]")
]


def check_active(key: str, active: str) -> None:
    """Raise ValueError unless `active` is empty, a word about the sun, or a range of hours."""
    if not active or active in SUN:
        return
    hours = hours_of(active)
    if hours is None:
        raise ValueError(f"{key}: `{Address(active)}` must be daylight, night, or hours such as 06:00-20:00")
    if hours[0] == hours[1]:
        raise ValueError(f"{key}: `{active}` begins when it ends; leave it empty for always")


def hours_of(active: str) -> tuple[int, int] | None:
    """Return the begin and the end of a range of hours, in minutes since midnight; None: it is none."""
    found = HOURS.fullmatch(active)
    if not found:
        return None
    hour, minute, end_hour, end_minute = (int(each) for each in found.groups())
    return 60 * hour + minute, 60 * end_hour + end_minute


def check_place(key: str, place: list[float]) -> None:
    """Raise ValueError unless `place` is on earth, or empty."""
    if place and not (len(place) == 2 and abs(place[0]) <= 90 and abs(place[1]) <= 180):
        raise ValueError(
            f"{key}: must be latitude (-90 to 90) and longitude (-180 to 180), such as [52.5, 13.4]"
        )

"""Write times as text, convert monotonic to wall-clock time, and space out repeated attempts."""

from __future__ import annotations

import random
import re
import time
from datetime import UTC, datetime, tzinfo

AGO = re.compile(r"(\d{1,6})\s*(s|min|m|h|d|w)")
CLOCK_SET_S = 1_767_225_600.0
"""The first of January 2026: an earlier time means that the clock of this machine is not set yet."""
UNITS_S = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def timestamp(unix_s: float) -> str:
    """Return wall-clock time in ISO format: ``2026-01-31T12:00:00Z``."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def timestamp_ms(unix_s: float) -> str:
    """Return wall-clock time to the millisecond: ``2026-01-31T12:00:00.000Z``."""
    moment = datetime.fromtimestamp(unix_s, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def unix_time(moment: float, now: float | None = None) -> float:
    """Return the wall-clock time, in seconds since 1970, of a moment of :func:`time.monotonic`.

    :param now: the present moment; None: ask the clock.
    """
    return time.time() - ((time.monotonic() if now is None else now) - moment)


def parse_moment(text: str, zone: tzinfo | None) -> float:
    """Return the moment that `text` means: ``6h`` (ago), a date, or a date and time; in seconds since 1970.

    :param zone: the time zone of a date that names none; None: local time.
    :raises ValueError: it is none of these.
    """
    if ago := AGO.fullmatch(text.strip()):
        return time.time() - int(ago[1]) * UNITS_S[ago[2]]
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"`{text}` must look like 6h, 2d, 2026-01-31 or 2026-01-31T12:00") from None


def back_off_s(failures: int, first_s: float, longest_s: float) -> float:
    """Return how long to wait after `failures` in a row, at least 1: doubled each time, up to `longest_s`.

    A random half of it keeps peers that failed together from returning together.
    """
    return min(longest_s, first_s * 2.0 ** min(failures - 1, 30)) * random.uniform(0.5, 1.0)

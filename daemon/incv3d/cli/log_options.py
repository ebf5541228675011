"""Define what the latency log commands share: which logs to read, and since when."""

from __future__ import annotations

import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path

import click

AGO = re.compile(r"(\d{1,6})\s*(s|min|m|h|d|w)")
UNITS_S = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


class Since(click.ParamType[float]):
    """Converts a point in time as people write it to seconds since 1970."""

    name = "moment"

    def convert(self, value: str, param: click.Parameter | None, context: click.Context | None) -> float:
        """Convert ``6h`` (ago), a date, or a date and time, in UTC unless it names a time zone."""
        if isinstance(value, float):
            return value
        if ago := AGO.fullmatch(value.strip()):
            return time.time() - int(ago[1]) * UNITS_S[ago[2]]
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            self.fail(f"`{value}` must look like 6h, 2d, 2026-01-31 or 2026-01-31T12:00", param, context)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


since_option = click.option(
    "--since",
    "since_s",
    type=Since(),
    default=float("-inf"),
    metavar="WHEN",
    help="Ignore older entries: 6h, 2d, 2026-01-31 or 2026-01-31T12:00 (UTC).",
)


def log_paths(given: tuple[Path, ...]) -> list[Path]:
    """Return the logs named, each once and without its own rotated files; default: this machine's log."""
    from incv3d.config.loading import load_config
    from incv3d.config.paths import latency_log_path

    if not given:
        return [latency_log_path(load_config().config.latency.log, os.environ)]
    covered = {f"{path}." for path in given}
    rotated = re.compile(r"(.*\.)\d{1,9}(\.gz)?")
    return [
        path
        for path in dict.fromkeys(given)
        if not ((match := rotated.fullmatch(str(path))) and match[1] in covered)
    ]

"""What the commands about latency logs share: which logs, and from when on."""

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
    """A moment as people say it, to seconds since 1970."""

    name = "moment"

    def convert(self, value: str, param: click.Parameter | None, context: click.Context | None) -> float:
        """``6h`` ago, a date, or a date and time; UTC unless it says otherwise."""
        if isinstance(value, float):
            return value
        if ago := AGO.fullmatch(value.strip()):
            return time.time() - int(ago[1]) * UNITS_S[ago[2]]
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            self.fail(f"`{value}` is not like 6h, 2d, 2026-01-31 or 2026-01-31T12:00", param, context)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


since_option = click.option(
    "--since",
    "since_s",
    type=Since(),
    default=float("-inf"),
    metavar="WHEN",
    help="Leave out what is older: 6h, 2d, 2026-01-31, 2026-01-31T12:00 (UTC).",
)


def log_paths(given: tuple[Path, ...]) -> list[Path]:
    """The logs that were named, each once, rotated files with their log; else this machine's own."""
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

"""Define what the latency log commands share: which logs to read, and since when."""

from __future__ import annotations

import os
import re
from datetime import UTC, tzinfo
from pathlib import Path

import click

from incv3d.clock import parse_moment


class Moment(click.ParamType[float]):
    """Converts a point in time as people write it to seconds since 1970.

    :param zone: the time zone of a date that names none; None: local time.
    """

    name = "moment"

    def __init__(self, zone: tzinfo | None) -> None:
        self._zone = zone

    def convert(self, value: str, param: click.Parameter | None, context: click.Context | None) -> float:
        """Convert ``6h`` (ago), a date, or a date and time."""
        if isinstance(value, float):
            return value
        try:
            return parse_moment(value, self._zone)
        except ValueError as error:
            self.fail(str(error), param, context)


since_option = click.option(
    "--since",
    "since_s",
    type=Moment(UTC),
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

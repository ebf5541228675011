"""Read latency logs, written by :mod:`incv3d.latency.log_writer`, with their rotated files."""

from __future__ import annotations

import contextlib
import gzip
import math
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, cast

from incv3d.errors import Incv3dError
from incv3d.latency.rolling import Spread

LONGEST_LINE = 16 * 1024
MANY_DAMAGED = 10_000
"""A file that begins with this many unknown lines is not a latency log."""
TIMESTAMP = "%Y-%m-%dT%H:%M:%SZ"
PAIR = re.compile(r'([^\s="]+)=("(?:[^"\\]|\\.)*"|[^\s="]*)(?: |$)')


class LogError(Incv3dError):
    """A latency log cannot be read; the message says which and why."""


class DamagedLine(Exception):
    """A line was not written by the daemon."""


@dataclass(frozen=True, slots=True)
class Start:
    """The daemon became ready, or switched to another model: statistics start again."""

    at_s: float
    """Seconds since 1970."""
    event: str
    """``start``, ``reload`` or ``tuned``."""
    facts: Mapping[str, str | None]
    """The facts in the line: ``model``, ``engine``, ``threads`` ..."""


@dataclass(frozen=True, slots=True)
class Window:
    """The statistics of one line. The windows of neighboring lines overlap."""

    at_s: float
    """End of the window in seconds since 1970."""
    window_s: float
    frames: int
    fps: float
    run: Spread | None
    """None: there were no frames."""
    queue_p95_ms: float | None
    decode_p95_ms: float | None
    total_p95_ms: float | None
    age_p95_ms: float | None
    dropped: int
    busy: int
    expired: int
    errors: int
    skipped: int
    temp_c: float | None
    throttled: int | None
    rss_mb: float | None


LogEntry = Start | Window


@dataclass(frozen=True, slots=True)
class LatencyHistory:
    """The content of a log and its rotated files, oldest first."""

    path: Path
    files: tuple[Path, ...]
    entries: tuple[LogEntry, ...]
    damaged: int
    """Number of unreadable lines, which were skipped."""


def read_history(path: Path, since_s: float = -math.inf) -> LatencyHistory:
    """Read the log at `path` after its rotated files, ``path.1``, ``path.2.gz`` and so on.

    :param since_s: skip older entries; seconds since 1970.
    :raises LogError: the file is missing, cannot be read, or has no line written by the daemon.
    """
    entries: list[LogEntry] = []
    damaged = 0
    files: list[Path] = []
    with contextlib.ExitStack() as stack:
        opened = _open_all(path, stack)
        for name, file in reversed(opened):
            files.append(name)
            try:
                for line in _lines(file):
                    try:
                        entries.append(parse_line(line))
                    except DamagedLine:
                        damaged += 1
                        if damaged >= MANY_DAMAGED and not entries:
                            raise LogError(f"{name}: not a latency log of incv3d") from None
            except (OSError, EOFError, zlib.error) as error:
                reason = getattr(error, "strerror", None) or error
                raise LogError(f"{name}: cannot be read: {reason}") from None
    if damaged and not entries:
        raise LogError(f"{path}: not a latency log of incv3d")
    kept = tuple(entry for entry in entries if entry.at_s >= since_s)
    return LatencyHistory(path, tuple(files), kept, damaged)


def parse_line(line: bytes) -> LogEntry:
    """Parse one line, with its newline.

    :raises DamagedLine: it is truncated, or was not written by the daemon.
    """
    if not line.endswith(b"\n"):
        raise DamagedLine("no end")
    try:
        fields = parse_logfmt(line[:-1].decode("utf-8"))
        at_s = _moment(fields.pop("ts"))
        if event := fields.pop("event", None):
            return Start(at_s, event, fields)
        return _window(at_s, fields)
    except (KeyError, ValueError, OverflowError) as error:
        raise DamagedLine(str(error)) from None


def parse_logfmt(text: str) -> dict[str, str | None]:
    """Parse ``key=value`` pairs written by :func:`incv3d.latency.log_writer.logfmt`, with None for ``na``.

    :raises ValueError: the text has something else in it, or a key twice.
    """
    fields: dict[str, str | None] = {}
    at = 0
    while at < len(text):
        pair = PAIR.match(text, at)
        if not pair or pair[1] in fields:
            raise ValueError(f"no new pair at {at}")
        fields[pair[1]] = _plain(pair[2])
        at = pair.end()
    return fields


def _plain(value: str) -> str | None:
    if value.startswith('"'):
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return None if value == "na" else value


def _window(at_s: float, fields: Mapping[str, str | None]) -> Window:
    frames = _count(fields, "frames")
    return Window(
        at_s=at_s,
        window_s=_needed(fields, "window_s"),
        frames=frames,
        fps=_needed(fields, "fps"),
        run=_run(fields) if frames else None,
        queue_p95_ms=_number(fields, "queue_p95_ms"),
        decode_p95_ms=_number(fields, "decode_p95_ms"),
        total_p95_ms=_number(fields, "total_p95_ms"),
        age_p95_ms=_number(fields, "age_p95_ms"),
        dropped=_count(fields, "dropped"),
        busy=_count(fields, "busy"),
        expired=_count(fields, "expired"),
        errors=_count(fields, "errors"),
        skipped=_count(fields, "skipped") if "skipped" in fields else 0,
        temp_c=_number(fields, "temp_c"),
        throttled=_bits(fields["throttled"]),
        rss_mb=_number(fields, "rss_mb"),
    )


def _run(fields: Mapping[str, str | None]) -> Spread:
    spread = Spread(
        best_ms=_needed(fields, "run_best_ms"),
        avg_ms=_needed(fields, "run_avg_ms"),
        p50_ms=_needed(fields, "run_p50_ms"),
        p95_ms=_needed(fields, "run_p95_ms"),
        p99_ms=_needed(fields, "run_p99_ms"),
        worst_ms=_needed(fields, "run_worst_ms"),
    )
    ascending = (spread.best_ms, spread.p50_ms, spread.p95_ms, spread.p99_ms, spread.worst_ms)
    if list(ascending) != sorted(ascending) or not spread.best_ms <= spread.avg_ms <= spread.worst_ms:
        raise ValueError("a spread that cannot be")
    return spread


def _moment(text: str | None) -> float:
    return datetime.strptime(text or "", TIMESTAMP).replace(tzinfo=UTC).timestamp()


def _number(fields: Mapping[str, str | None], key: str) -> float | None:
    text = fields[key]
    if text is None:
        return None
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{key} is {text}")
    return number


def _needed(fields: Mapping[str, str | None], key: str) -> float:
    number = _number(fields, key)
    if number is None or number < 0:
        raise ValueError(f"{key} is {number}")
    return number


def _count(fields: Mapping[str, str | None], key: str) -> int:
    text = fields[key] or ""
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{key} is {text}")
    return int(text)


def _bits(text: str | None) -> int | None:
    return None if text is None else int(text, 16)


def _open_all(path: Path, stack: contextlib.ExitStack) -> list[tuple[Path, IO[bytes]]]:
    """Open the log and its rotated files, youngest first, each once even if they are rotated meanwhile."""
    opened: list[tuple[Path, IO[bytes]]] = []
    seen = set()
    for name in (path, *_rotated(path)):
        try:
            file: IO[bytes] = stack.enter_context(name.open("rb"))
        except FileNotFoundError:
            continue  # just rotated, or never there
        except OSError as error:
            raise LogError(f"{name}: cannot be read: {error.strerror}") from None
        status = os.fstat(file.fileno())
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        if name.suffix == ".gz":
            file = cast(IO[bytes], stack.enter_context(gzip.GzipFile(fileobj=file)))
        opened.append((name, file))
    if not opened:
        raise LogError(f"{path}: no such file")
    return opened


def _rotated(path: Path) -> list[Path]:
    number = re.compile(re.escape(path.name) + r"\.(\d{1,9})(\.gz)?")
    try:
        found = [
            (int(match[1]), each) for each in path.parent.iterdir() if (match := number.fullmatch(each.name))
        ]
    except OSError:
        return []  # opening the log itself reports the error
    return [each for _, each in sorted(found)]


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    while line := file.readline(LONGEST_LINE):
        yield line

"""Write the latency log: one logfmt line per interval, for ``tail -F`` and for programs."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from incv3d.clock import timestamp
from incv3d.latency.rolling import Spread, Summary
from incv3d.machine import Readings

LOG = logging.getLogger(__name__)
MISSING = "na"
StartEvent = Literal["start", "reload", "tuned"]
"""``reload``: the configuration has changed; ``tuned``: the daemon has converted its model by itself."""


def start_line(unix_s: float, event: StartEvent, facts: Mapping[str, object]) -> str:
    """Return the first line of another Session: the model's facts and its warm-up."""
    fields = {"ts": timestamp(unix_s), "event": event, **facts}
    return logfmt(fields)


def summary_line(unix_s: float, summary: Summary, machine: Readings) -> str:
    """Return the line of one interval. Keys and their order never change; new keys are appended."""
    run = summary.run
    throttled = None if machine.throttled is None else f"0x{machine.throttled:x}"
    return logfmt(
        {
            "ts": timestamp(unix_s),
            "window_s": _round(summary.window_s, 1),
            "frames": summary.frames,
            "fps": _round(summary.fps, 2),
            "run_best_ms": _ms(run, "best_ms"),
            "run_avg_ms": _ms(run, "avg_ms"),
            "run_p50_ms": _ms(run, "p50_ms"),
            "run_p95_ms": _ms(run, "p95_ms"),
            "run_p99_ms": _ms(run, "p99_ms"),
            "run_worst_ms": _ms(run, "worst_ms"),
            "queue_p95_ms": _ms(summary.queue, "p95_ms"),
            "decode_p95_ms": _ms(summary.decode, "p95_ms"),
            "total_p95_ms": _ms(summary.total, "p95_ms"),
            "age_p95_ms": _ms(summary.age, "p95_ms"),
            "dropped": summary.dropped,
            "busy": summary.busy,
            "expired": summary.expired,
            "errors": summary.errors,
            "temp_c": _round(machine.temp_c, 1),
            "throttled": throttled,
            "rss_mb": _round(machine.rss_mb, 0),
            "skipped": summary.skipped,
        }
    )


def logfmt(fields: Mapping[str, object]) -> str:
    """Return ``key=value`` pairs in order, with ``na`` for None and quotes around values with spaces."""
    return " ".join(f"{key}={_value(value)}" for key, value in fields.items())


def _value(value: object) -> str:
    if value is None:
        return MISSING
    text = str(value)
    if not text or any(c.isspace() or c in '"=' for c in text):
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + " ".join(escaped.split()) + '"'
    return text


def _ms(spread: Spread | None, field: str) -> str | None:
    return None if spread is None else f"{getattr(spread, field):.1f}"


def _round(value: float | None, digits: int) -> str | None:
    return None if value is None else f"{value:.{digits}f}"


class LatencyLog:
    """An append-only file with a size limit that survives any failure of its disk.

    When a line cannot be written, the daemon continues and its own log says so once; it logs recovery, too. A
    file that was moved or deleted is created again.

    :param path: the file; missing folders are created.
    :param max_bytes: the file is rotated before it would exceed this size.
    :param keep: number of rotated files to keep; ``path.1`` is the youngest.
    """

    def __init__(self, path: Path, max_bytes: int, keep: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._descriptor: int | None = None
        self._failing = False

    def write(self, line: str) -> None:
        """Append `line` and a newline."""
        data = line.encode("utf-8") + b"\n"
        try:
            self._write(data)
        except OSError as error:
            self.close()
            if not self._failing:
                LOG.warning("%s: cannot be written (%s); continuing without it", self.path, error.strerror)
            self._failing = True
            return
        if self._failing:
            LOG.warning("%s: can be written again", self.path)
        self._failing = False

    def resize(self, max_bytes: int, keep: int) -> None:
        """Change the size limit and the number of rotated files."""
        self._max_bytes, self._keep = max_bytes, keep

    def reopen(self) -> None:
        """Close the file; the next line opens it again (for logrotate)."""
        self.close()

    def flush(self) -> None:
        """Flush the file to the disk, at the end; until then the kernel batches lines."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):  # a pipe, for example, cannot be synchronized and need not be
                os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _write(self, data: bytes) -> None:
        descriptor = self._open()
        size_bytes = os.fstat(descriptor).st_size
        if size_bytes and size_bytes + len(data) > self._max_bytes:
            self._rotate()
            descriptor, size_bytes = self._open(), 0
        written = 0
        try:
            while written < len(data):
                written += os.write(descriptor, data[written:])
        except OSError:
            if written:  # a full disk accepted half a line: remove it, so that every line is complete
                os.ftruncate(descriptor, size_bytes)
            raise

    def _open(self) -> int:
        if self._descriptor is not None and self._is_elsewhere(self._descriptor):
            self.close()
        if self._descriptor is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            self._descriptor = os.open(self.path, flags, 0o644)
        return self._descriptor

    def _is_elsewhere(self, descriptor: int) -> bool:
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return True
        here = os.fstat(descriptor)
        return (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino)

    def _rotate(self) -> None:
        self.close()
        names = [self.path, *(self.path.with_name(f"{self.path.name}.{n}") for n in range(1, self._keep + 1))]
        for older, newer in zip(reversed(names), reversed(names[:-1]), strict=False):
            if newer.exists():
                newer.replace(older)
        if not self._keep:
            self.path.unlink()

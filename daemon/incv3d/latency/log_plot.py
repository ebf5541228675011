"""Plot latency logs: run times, frames, losses and temperature over time, with restarts marked."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from incv3d.latency.chart_file import ChartError
from incv3d.latency.log_reader import LatencyHistory, LogEntry, Start, Window
from incv3d.machine import throttling

HOUR_S = 3600.0
GAP = 3
"""A pause between two lines of more than this many usual ones is a gap in the curves."""
WIDE = 20
"""Run times that differ by more than this factor are drawn on a logarithmic scale."""
LOSSES = ("dropped", "busy", "expired", "errors")

Value = Callable[[Window], float | None]


@dataclass(frozen=True, slots=True)
class _Curves:
    """One log, ready to draw."""

    name: str
    colour: str
    windows: list[Window | None]
    """The windows in order, with None for a gap."""
    breaks: list[Start]
    zero_s: float
    """Start of the time axis; 0: wall-clock time."""


def plot(histories: Sequence[LatencyHistory], path: Path) -> None:
    """Draw `histories`, each with at least one line, to the file at `path`.

    One log shows its percentiles and its losses by reason; several are compared, one color each. If their
    times do not overlap, all begin at 0.

    :raises ChartError: the file cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    colours = pyplot.rcParams["axes.prop_cycle"].by_key()["color"]
    elapsed = not _overlap([history.entries for history in histories])
    names = _names([history.path for history in histories])
    logs = [
        _curves(history, name, colours[number % len(colours)], elapsed)
        for number, (history, name) in enumerate(zip(histories, names, strict=True))
    ]
    hot = any(window and window.temp_c is not None for log in logs for window in log.windows)
    ratios = (3, 1.2, 1.2, *((1.2,) if hot else ()))
    figure, panels = pyplot.subplots(
        len(ratios), 1, figsize=(12, 2.4 * len(ratios) + 1), sharex=True, height_ratios=ratios,
        layout="constrained",
    )  # fmt: skip
    _draw_runs(panels[0], logs)
    for log in logs:
        _line(panels[1], log, lambda window: window.fps, color=log.colour)
    panels[1].set_ylabel("frames/s")
    _draw_losses(panels[2], logs)
    if hot:
        _draw_temperature(panels[3], logs)
    panels[1].set_ylim(bottom=0)
    for panel in panels:
        _mark_breaks(panel, logs, named=panel is panels[0])
        panel.margins(x=0.01)
        panel.grid(color="0.9", linewidth=0.5)
        if panel.get_legend_handles_labels()[0]:
            panel.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8, frameon=False)
    if elapsed:
        panels[-1].set_xlabel("hours since the first line of each log")
    else:
        _date_axis(panels[-1])
    figure.suptitle(_title(histories), fontsize=10)
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise ChartError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        pyplot.close(figure)


def _draw_runs(panel: Any, logs: Sequence[_Curves]) -> None:
    if len(logs) == 1:
        # The highest first, so that it is drawn under the others.
        _line(panel, logs[0], lambda window: window.total_p95_ms, color="0.6", label="total p95")
        for name, colour in (("p99", "lightcoral"), ("p95", "C1"), ("p50", "C0")):
            _line(panel, logs[0], partial(_run_ms, name=name), color=colour, label=f"run {name}")
    for log in logs if len(logs) > 1 else ():
        for name, style in (("p95", ":"), ("p50", "-")):
            value = partial(_run_ms, name=name)
            _line(panel, log, value, color=log.colour, linestyle=style, label=f"{log.name} {name}")
    drawn = [y for line in panel.get_lines() for y in line.get_ydata() if y > 0]
    if drawn and max(drawn) > WIDE * min(drawn):
        panel.set_yscale("log")
    else:
        panel.set_ylim(bottom=0)
    panel.set_ylabel("milliseconds")


def _draw_losses(panel: Any, logs: Sequence[_Curves]) -> None:
    for log in logs:
        if len(logs) > 1:
            _line(panel, log, partial(_per_minute, reasons=LOSSES), color=log.colour, label=log.name)
            continue
        for number, reason in enumerate(LOSSES):
            if any(window and getattr(window, reason) for window in log.windows):
                _line(
                    panel, log, partial(_per_minute, reasons=(reason,)), color=f"C{number + 4}", label=reason
                )
    if len(logs) == 1 and not panel.get_lines():
        panel.annotate("no losses", (0.5, 0.5), xycoords="axes fraction", ha="center", color="0.5")
        panel.set_yticks([])
    panel.set_ylabel("lost per minute")
    panel.set_ylim(bottom=0)


def _draw_temperature(panel: Any, logs: Sequence[_Curves]) -> None:
    label: str | None = "throttled now"
    for log in logs:
        _line(panel, log, lambda window: window.temp_c, color=log.colour)
        marked = [w for w in log.windows if w and w.temp_c is not None and throttling(w.throttled or 0)]
        if marked:
            x = [_x(log, window.at_s) for window in marked]
            panel.plot(x, [window.temp_c for window in marked], "x", color="red", markersize=3, label=label)
            label = None
    panel.set_ylabel("°C")


def _mark_breaks(panel: Any, logs: Sequence[_Curves], named: bool) -> None:
    labels = {"start": "restart", "reload": "another model"} if named else {}
    for log in logs:
        for each in log.breaks:
            colour = "0.3" if len(logs) == 1 else log.colour
            style = ":" if each.event == "start" else "-."
            label = labels.pop(each.event, None)  # one entry in the legend is enough
            panel.axvline(_x(log, each.at_s), color=colour, linestyle=style, linewidth=1.2, label=label)


def _line(panel: Any, log: _Curves, value: Value, **style: Any) -> None:
    known = [window for window in log.windows if window]
    if not known:
        return
    x: list[Any] = []
    y: list[float] = []
    at_s = known[0].at_s
    for window in log.windows:
        at_s = window.at_s if window else at_s
        found = value(window) if window else None
        x.append(_x(log, at_s))
        y.append(math.nan if found is None else found)
    alone = len(known) == 1
    panel.plot(x, y, marker="." if alone else None, **{"linewidth": 1, **style})


def _x(log: _Curves, at_s: float) -> Any:
    return (at_s - log.zero_s) / HOUR_S if log.zero_s else datetime.fromtimestamp(at_s, UTC)


def _date_axis(panel: Any) -> None:
    from matplotlib import dates

    locator = dates.AutoDateLocator(tz=UTC)
    panel.xaxis.set_major_locator(locator)
    panel.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=UTC))
    panel.set_xlabel("UTC")


def _run_ms(window: Window, name: str) -> float | None:
    ms: float | None = getattr(window.run, f"{name}_ms", None)
    return ms


def _per_minute(window: Window, reasons: Sequence[str]) -> float | None:
    count = sum(getattr(window, reason) for reason in reasons)
    return 60 * count / window.window_s if window.window_s else None


def _curves(history: LatencyHistory, name: str, colour: str, elapsed: bool) -> _Curves:
    entries = history.entries
    pauses = [b.at_s - a.at_s for a, b in itertools.pairwise(entries) if b.at_s > a.at_s]
    usual_s = median(pauses) if pauses else math.inf
    windows: list[Window | None] = []
    breaks: list[Start] = []
    before: LogEntry | None = None
    for entry in entries:
        if before and not 0 <= entry.at_s - before.at_s <= GAP * usual_s:
            windows.append(None)
        if isinstance(entry, Window):
            windows.append(entry)
        elif before:
            windows.append(None)
            breaks.append(entry)
        before = entry
    return _Curves(name, colour, windows, breaks, entries[0].at_s if elapsed else 0.0)


def _overlap(logs: Sequence[Sequence[LogEntry]]) -> bool:
    """Return whether all logs have a moment in common; a single log has."""
    return max(min(e.at_s for e in log) for log in logs) <= min(max(e.at_s for e in log) for log in logs)


def _names(paths: Sequence[Path]) -> list[str]:
    """Return distinct names for the logs: file names, with the folder's if they are equal."""
    names = [path.name for path in paths]
    return [
        name if names.count(name) == 1 else str(Path(path.parent.name) / name)
        for path, name in zip(paths, names, strict=True)
    ]


def _title(histories: Sequence[LatencyHistory]) -> str:
    lines = []
    for history in histories:
        starts = [entry for entry in history.entries if isinstance(entry, Start)]
        facts = starts[-1].facts if starts else {}
        what = f"{facts['model']} on {facts.get('engine')}" if facts.get("model") else "model not in the log"
        lines.append(f"{history.path}: {what}")
    return "\n".join(lines)

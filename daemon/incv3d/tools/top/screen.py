"""Render the state of a daemon as lines of text for a terminal of any size."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from datetime import datetime

from rich.text import Text

from incv3d.latency.rolling import Spread
from incv3d.machine import SINCE_BOOT, throttling
from incv3d.tools.top.watcher import ReceivedResult, Source, Stats, View, Window

BLOCKS = "▁▂▃▄▅▆▇█"
LABEL_WIDTH = 8
NUMBER_WIDTH = 9
COLUMNS = ("p50", "p95", "p99", "worst")
ROOMY = 22
"""Lines; a terminal with fewer shows less, to leave room for results."""
HOT_C = 80.0
"""Above this a Raspberry Pi lowers its clock."""
GOOD, WARN, BAD, FAINT = "green", "yellow", "bold red", "dim"
STATE_STYLES = {"ready": GOOD, "starting": WARN, "stopping": WARN}
LOSSES = ("dropped", "busy", "expired", "errors")


def screen(view: View, width: int, height: int, now_s: float) -> list[Text]:
    """Return at most `height` lines of at most `width` columns, the most important first.

    :param now_s: seconds since 1970.
    """
    stats = view.stats
    lines = [_heading(view, width, now_s)]
    if view.away_since_s is not None:
        lines.append(Text(f"not reachable since {_clock(view.away_since_s)}", BAD))
        lines += [Text(part, WARN) for part in textwrap.wrap(_printable(view.error), width)]
        if stats:
            lines.append(Text(f"last known state, of {_clock(view.stats_at_s)}", FAINT))
    elif not stats:
        lines.append(Text("connecting ...", FAINT))
    if stats:
        lines += _facts(stats)
        figures = [*_percentiles(stats.window, width, height), _sparkline(view.runs_ms, width)]
        spaced = [Text()] if height >= ROOMY else []
        lines += [*spaced, *figures, *spaced]
        lines += _results(view, height - len(lines), width)
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines[:height]


def _heading(view: View, width: int, now_s: float) -> Text:
    stats = view.stats
    left = Text("incv3d ", "bold")
    if stats and view.away_since_s is None:
        left.append(_printable(stats.state), STATE_STYLES.get(stats.state, ""))
        left.append(f" for {_duration(stats.uptime_s)}")
        if view.restarts:
            left.append(f", restarted {_times(view.restarts)}", WARN)
        left.append("  ")
    left.append(_printable(view.address), FAINT)
    clock = _clock(now_s)
    gap = width - left.cell_len - len(clock)
    if gap >= 2:
        left.append(" " * gap + clock, FAINT)
    return left


def _facts(stats: Stats) -> list[Text]:
    lines = []
    if stats.model:
        lines.append(Text(f"{_printable(stats.model)} on {_printable(stats.engine)}"))
    if stats.health != "ok":
        lines.append(Text(_printable(stats.health), BAD))
    lines.append(_flow(stats))
    lines += [_source(each) for each in stats.sources or filter(None, [stats.source])]
    lines.append(_machine(stats))
    return lines + _frames(stats)


def _flow(stats: Stats) -> Text:
    full = stats.queue_limit and stats.queue_depth >= stats.queue_limit
    line = Text.assemble((f"{stats.window.fps:.2f} frames/s", "bold"), "  queue ")
    line.append(f"{stats.queue_depth} of {stats.queue_limit}", WARN if full else "")
    others = max(0, stats.peers.seen - 1)  # this program is one of them
    return line.append(f"  {others} {'sender' if others == 1 else 'senders'} in the last minute")


def _source(source: Source) -> Text:
    line = Text.assemble(
        f"source {_printable(source.name)} ",
        (source.state, GOOD if source.state in ("ok", "asleep") else BAD),
    )
    if since := _since(source.since):
        line.append(f" since {since}")
    if source.reason:
        line.append(f": {_printable(source.reason)}", WARN)
    line.append(f"; {source.frames} frames")
    if source.refused_frames:
        line.append(f", {source.refused_frames} rejected", WARN)
    if source.lost_frames:
        line.append(f", {source.lost_frames} lost by the driver", WARN)
    if source.recoveries:
        line.append(f", recovered {_times(source.recoveries)}", WARN)
    return line


def _machine(stats: Stats) -> Text:
    machine = stats.machine
    line = Text("machine")
    if machine.temp_c is not None:
        line.append(" ").append(f"{machine.temp_c:.1f} °C", BAD if machine.temp_c >= HOT_C else "")
    if machine.throttled is not None:
        now = throttling(machine.throttled)
        earlier = [each for each in throttling(machine.throttled >> SINCE_BOOT) if each not in now]
        if now:
            line.append(" ").append(f"{', '.join(now)} now", BAD)
        if earlier:
            line.append(" ").append(f"since boot: {', '.join(earlier)}", WARN)
        if not now and not earlier:
            line.append(" never throttled", GOOD)
    if machine.rss_mb is not None:
        line.append(f" {machine.rss_mb:.0f} MB used")
    return line


def _frames(stats: Stats) -> list[Text]:
    """Return the outcomes of all frames since the start, and the losses in the latest window."""
    others = {name: count for name, count in stats.outcomes.items() if name != "ok" and count}
    line = Text(f"frames {stats.outcomes.get('ok', 0)} ok")
    for name, count in others.items():
        line.append(", ").append(f"{count} {_printable(name)}", "" if name == "skipped" else WARN)
    lines = [line]
    window = stats.window
    lately = [f"{getattr(window, name)} {name}" for name in LOSSES if getattr(window, name)]
    if lately:
        lines.append(Text(f"  in the last {_duration(window.window_s)}: {', '.join(lately)}", WARN))
    if stats.undelivered:
        lines.append(Text(f"  {stats.undelivered} answers could not be delivered", WARN))
    return lines


def _percentiles(window: Window, width: int, height: int) -> list[Text]:
    fit = max(1, min(len(COLUMNS), (width - LABEL_WIDTH) // NUMBER_WIDTH))
    shown = COLUMNS[:fit]
    lines = [Text(f"{'ms':<{LABEL_WIDTH}}" + "".join(f"{name:>{NUMBER_WIDTH}}" for name in shown), FAINT)]
    spreads: dict[str, Spread | None] = {"run": window.run, "total": window.total}
    if height >= ROOMY:
        spreads |= {"age": window.age, "queue": window.queue, "decode": window.decode}
    for name, spread in spreads.items():
        cells = ["-" if spread is None else f"{getattr(spread, f'{column}_ms'):.1f}" for column in shown]
        text = f"{name:<{LABEL_WIDTH}}" + "".join(f"{cell:>{NUMBER_WIDTH}}" for cell in cells)
        lines.append(Text(text, "bold" if name == "run" else ""))
    return lines


def _sparkline(runs_ms: Sequence[float], width: int) -> Text:
    if not runs_ms:
        return Text("runs     none yet", FAINT)
    latest = list(runs_ms)
    for _ in range(2):  # the legend depends on how many values fit beside it
        legend = f" {min(latest):.1f} to {max(latest):.1f} ms"
        room = max(1, width - LABEL_WIDTH - 1 - len(legend))
        latest = list(runs_ms)[-room:]
    line = Text(f"{'runs':<{LABEL_WIDTH}} ")
    return line.append(sparkline(latest), "cyan").append(legend)


def sparkline(values: Sequence[float]) -> str:
    """Return one block per value, the lowest for the minimum and the highest for the maximum."""
    low, high = min(values), max(values)
    step = (high - low) / (len(BLOCKS) - 1)
    return "".join(BLOCKS[math.floor((value - low) / step + 0.5) if step > 0 else 0] for value in values)


def _results(view: View, room: int, width: int) -> list[Text]:
    lines = [Text("results", FAINT)]
    if view.results_error:
        lines.append(Text(_printable(view.results_error), WARN))
    elif not view.results_address:
        lines.append(Text("unknown address: use --results", FAINT))
    elif not view.received:
        lines.append(Text(f"none yet at {_printable(view.results_address)}", FAINT))
    return lines + [_result(received, width) for received in view.received[: max(0, room - len(lines))]]


def _result(received: ReceivedResult, width: int) -> Text:
    answer = received.published.answer
    line = Text.assemble((_clock(received.at_s), FAINT), f" {_printable(received.published.source)}")
    if answer.timing_ms:
        line.append(f" {answer.timing_ms.run:.0f} ms", FAINT)
    for number, prediction in enumerate(answer.predictions or ()):
        more = f"  {_printable(prediction.label)} {prediction.score:.3f}"
        if number and line.cell_len + len(more) > width:
            break
        line.append(more, "" if number else "bold")
    return line


def _printable(text: str) -> str:
    """Replace control characters, so that text from the network cannot control the terminal."""
    return "".join(each if each.isprintable() else "?" for each in text)


def _since(iso: str) -> str:
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        return ""
    return _clock(moment.timestamp())


def _clock(at_s: float) -> str:
    """Return the local time of day."""
    return datetime.fromtimestamp(at_s).astimezone().strftime("%H:%M:%S")


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _duration(seconds: float) -> str:
    """Return ``45 s``, ``12 min``, ``3 h 05 min`` or ``2 d 3 h``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60:02} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"

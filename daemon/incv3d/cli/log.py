"""``incv3d log``: summarize a latency log by hour or day."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from incv3d.cli.log_options import log_paths, since_option
from incv3d.cli.options import json_option

if TYPE_CHECKING:
    from incv3d.latency.log_reader import LatencyHistory
    from incv3d.latency.log_summary import Estimate, Period

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
LINE_WIDTH = 300
HOURS_SHOWN = 48
"""A log that spans more hours than this is shown by day."""


@click.command()
@click.argument("paths", metavar="[LATENCY.log]...", nargs=-1, type=click.Path(path_type=Path))
@since_option
@click.option(
    "--per", type=click.Choice(["hour", "day", "whole"]),
    help="What each row covers.  [default: hour; day if the log spans more than two days]",
)  # fmt: skip
@json_option
def log(
    paths: tuple[Path, ...], since_s: float, per: Literal["hour", "day", "whole"] | None, as_json: bool
) -> None:
    """Summarize latency logs (default: this machine's), including rotated files. Times are UTC.

    Counts and the best, average and worst run come from windows that do not overlap, and are exact if the
    windows cover all of the time (`covered`). The log does not contain single runs: percentiles are
    estimates from those of the windows, and --json gives their certain bounds.
    """
    from incv3d.latency.log_reader import read_history

    histories = [read_history(path, since_s) for path in log_paths(paths)]
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode({"logs": [_document(history, per) for history in histories]}))
        return
    for number, history in enumerate(histories):
        if number:
            click.echo()
        _show(history, per)


def _periods(history: LatencyHistory, per: str | None) -> list[Period]:
    from incv3d.latency.log_summary import summarize, summarize_by_length

    if not history.entries or per == "whole":
        return []
    total = summarize(history.entries)
    hours = (total.end_s - total.begin_s) / HOUR_S
    return summarize_by_length(
        history.entries, DAY_S if per == "day" or (per is None and hours > HOURS_SHOWN) else HOUR_S
    )


def _document(history: LatencyHistory, per: str | None) -> dict[str, Any]:
    from incv3d.latency.log_summary import summarize

    return {
        "path": str(history.path),
        "files": [str(file) for file in history.files],
        "damaged_lines": history.damaged,
        "whole": _facts(summarize(history.entries)) if history.entries else None,
        "periods": [_facts(period) for period in _periods(history, per)],
    }


def _facts(period: Period) -> dict[str, Any]:
    from dataclasses import asdict

    from incv3d.clock import timestamp
    from incv3d.machine import SINCE_BOOT, throttling

    facts = asdict(period)
    bits = period.throttled
    return {
        "begin": timestamp(facts.pop("begin_s")),
        "end": timestamp(facts.pop("end_s")),
        **facts,
        "throttled": None if bits is None else throttling(bits),
        "throttled_since_boot": None if bits is None else throttling(bits >> SINCE_BOOT),
    }


def _show(history: LatencyHistory, per: str | None) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from incv3d.clock import timestamp
    from incv3d.latency.log_summary import summarize
    from incv3d.machine import SINCE_BOOT, throttling

    click.echo(f"{history.path}{_of_files(history)}")
    if not history.entries:
        click.echo("no lines" + (" in this period" if history.files else ""))
        return
    total = summarize(history.entries)
    rows = _periods(history, per)
    skipped, board = bool(total.skipped), total.throttled is not None
    headings = ["UTC", "covered", "frames", "fps", "run p50", "p95", "p99", "worst ms", "dropped", "busy"]
    headings += ["expired", "errors", *(["skipped"] if skipped else []), "°C", "MB", "starts"]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "UTC" else "right", no_wrap=True)
    if board:
        table.add_column("throttled", no_wrap=True)
    for period in rows:
        name = timestamp(period.begin_s)[: 16 if period.end_s - period.begin_s < DAY_S else 10].replace(
            "T", " "
        )
        table.add_row(*(Text(cell) for cell in _cells(name, period, skipped, board)))
    table.add_row(*(Text(cell) for cell in _cells("all", total, skipped, board)))
    # Never cut a row off: a narrow terminal wraps it, and grep and less see all of it.
    console = Console(highlight=False, width=LINE_WIDTH)
    with console.capture() as shown:
        console.print(table, crop=False)
    click.echo("\n".join(line.rstrip() for line in shown.get().splitlines()))
    if since_boot := throttling((total.throttled or 0) >> SINCE_BOOT):
        click.echo(f"since boot: {', '.join(since_boot)}")
    span_s = total.end_s - total.begin_s
    if total.covered_s < 0.9 * span_s:
        click.echo(
            f"the lines cover {_duration(total.covered_s)} of {_duration(span_s)}; "
            "the counts are for that time only"
        )


def _of_files(history: LatencyHistory) -> str:
    notes = [f"{len(history.files)} files"] if len(history.files) > 1 else []
    if history.damaged:
        notes.append(f"{history.damaged} damaged {'lines' if history.damaged > 1 else 'line'} skipped")
    return f" ({', '.join(notes)})" if notes else ""


def _cells(name: str, period: Period, skipped: bool, board: bool) -> list[str]:
    run = period.run

    def ms(estimate: Estimate | None) -> str:
        if estimate is None:
            return "-"
        exact = estimate.high_ms - estimate.low_ms < 0.1
        return f"{'' if exact else '~'}{estimate.ms:.1f}"

    cells = [
        name,
        _duration(period.covered_s),
        str(period.frames),
        f"{period.fps:.2f}",
        ms(run.p50 if run else None),
        ms(run.p95 if run else None),
        ms(run.p99 if run else None),
        f"{run.worst_ms:.1f}" if run else "-",
        str(period.dropped),
        str(period.busy),
        str(period.expired),
        str(period.errors),
    ]
    if skipped:
        cells.append(str(period.skipped))
    cells.append("-" if period.temp_max_c is None else f"{period.temp_max_c:.1f}")
    cells.append("-" if period.rss_max_mb is None else f"{period.rss_max_mb:.0f}")
    cells.append(str(period.starts))
    if board:
        cells.append(_throttled(period.throttled))
    return cells


def _throttled(bits: int | None) -> str:
    from incv3d.machine import throttling

    return "-" if bits is None else ", ".join(throttling(bits)) or "no"


def _duration(seconds: float) -> str:
    """Return ``45 s``, ``12 min`` or ``3 h 05 min``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes <= 60 else f"{minutes // 60} h {minutes % 60:02} min"

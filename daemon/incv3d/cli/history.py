"""``incv3d history``: what was seen, how often, when."""

from __future__ import annotations

import csv
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from incv3d.cli.log_options import Moment
from incv3d.cli.options import config_option, json_option
from incv3d.cli.output import print_table, say

if TYPE_CHECKING:
    from rich.table import Table

BAR = 40
"""The longest bar, in characters."""
SHOWN_VISITS = 50
What = Literal["hour", "day", "label", "visit"]


@click.command()
@config_option
@click.option(
    "--since",
    "since_s",
    type=Moment(None),
    metavar="WHEN",
    help="Begin of the period: 6h, 2d, 2026-01-31 or 2026-01-31T12:00 (local time).  [default: a day ago]",
)
@click.option(
    "--until", "until_s", type=Moment(None), metavar="WHEN", help="End of the period.  [default: now]"
)
@click.option("--label", default="", help="Only this label or synset.")
@click.option("--source", default="", help="Only this source with its regions, or this region.")
@click.option(
    "--by",
    type=click.Choice(["hour", "day", "label", "visit"]),
    help="What each row covers.  [default: hour; day if the period is longer than two days]",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=SHOWN_VISITS,
    show_default=True,
    help="Most visits shown, the newest first.",
)
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@click.option(
    "--copy",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Copy the whole history to a SQLite file, also while the daemon runs.",
)
@click.option(
    "--rebuild", is_flag=True, help="Add what the saved images of events tell, after the history was lost."
)
def history(
    config_path: str | None, since_s: float | None, until_s: float | None, label: str, source: str,
    by: What | None, limit: int, as_json: bool, as_csv: bool, copy: Path | None, rebuild: bool,
) -> None:  # fmt: skip
    """Show which labels were seen, how often, and for how long. Times are local.

    The daemon writes the history once a minute. Counts by hour and day cover whole hours.
    """
    from incv3d.config.loading import load_config
    from incv3d.config.paths import state_directory
    from incv3d.history.answers import answer, make_request
    from incv3d.history.database import FILE

    path = state_directory(os.environ) / FILE
    if copy or rebuild:
        if copy:
            _copy(path, copy)
        if rebuild:
            _rebuild(load_config(config_path).config.saving.folder, path)
        return
    found = answer(path, make_request(since_s, until_s, label, source, by or "", limit))
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(found))
    elif as_csv:
        _print_csv(found["rows"])
    elif not found["rows"]:
        click.echo("nothing was seen in this period")
    else:
        print_table(_TABLES[found["by"]](found["rows"], found["by"]))


def _copy(path: Path, target: Path) -> None:
    from incv3d.history.reader import HistoryReader

    with HistoryReader(path) as reader:
        reader.back_up(target)
    say(f"{target}: written")


def _rebuild(folder: str, path: Path) -> None:
    from incv3d.config.loading import ConfigError
    from incv3d.history.rebuild import rebuild

    if not folder:
        raise ConfigError("--rebuild: no images of events are saved; set saving.folder")
    added = rebuild(Path(folder), path)
    say(f"{path}: added {added} visits from the images in {folder}")


def _print_csv(rows: list[dict[str, Any]]) -> None:
    if rows:
        writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _table(*headings: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        is_number = heading in ("visits", "time", "best")
        table.add_column(heading, justify="right" if is_number else "left", no_wrap=True)
    return table


def _chart(rows: list[dict[str, Any]], by: str) -> Table:
    table = _table(by, "visits", "time", "")
    most = max(row["visits"] for row in rows)
    for row in rows:
        begin = datetime.fromisoformat(row["begin"])
        name = f"{begin:%a %Y-%m-%d}" if by == "day" else f"{begin:%a %Y-%m-%d %H:00}"
        bar = "█" * max(round(BAR * row["visits"] / max(most, 1)), 1 if row["visits"] else 0)
        table.add_row(name, str(row["visits"]), _duration(row["seconds"]), bar)
    return table


def _labels(rows: list[dict[str, Any]], by: str) -> Table:
    table = _table("label", "source", "visits", "time", "first seen", "last seen")
    for row in rows:
        ends = _local(row["first"]), _local(row["last"])
        table.add_row(row["label"], row["source"], str(row["visits"]), _duration(row["seconds"]), *ends)
    return table


def _visits(rows: list[dict[str, Any]], by: str) -> Table:
    table = _table("entered", "time", "source", "label", "best", "image")
    for row in rows:
        time = "still there" if row["duration_s"] is None else _duration(row["duration_s"])
        best = f"{row['best']:.2f}"
        table.add_row(_local(row["entered"]), time, row["source"], row["label"], best, row["image"])
    return table


_TABLES = {"hour": _chart, "day": _chart, "label": _labels, "visit": _visits}


def _local(moment: str) -> str:
    return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M:%S}"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"

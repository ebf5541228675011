"""Print the tables and the progress of ``incv3d bench``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from incv3d.cli.output import say

if TYPE_CHECKING:
    from incv3d.tools.bench.tables import Table

    Progress = Callable[[str, int], None]


def show(tables: list[Table], notes: list[str], markdown: bool) -> None:
    """Print tables and, below them, notes."""
    from rich.console import Console

    # Wider than most terminals, so that no figure is cut off.
    console = Console(width=200, soft_wrap=True)
    for table in tables:
        click.echo()
        if markdown:
            click.echo(table.markdown())
        else:
            table.show(console)
    click.echo()
    for note in notes:
        click.echo(f"- {note}")


def print_json(found: object) -> None:
    """Print what was found as indented JSON."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())


@contextmanager
def show_progress(runs: int) -> Iterator[Progress]:
    """Show progress on standard error: a bar per engine on a terminal, else a line per engine."""
    from incv3d.tools.bench.engines import TITLES

    if not sys.stderr.isatty():
        yield lambda engine, done: say(f"{TITLES[engine]}: running") if done == 1 else None
        return
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    with Bars(console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def told(engine: str, done: int) -> None:
            if engine not in tasks:
                tasks[engine] = bars.add_task(TITLES[engine], total=runs)
            bars.update(tasks[engine], completed=done)

        yield told

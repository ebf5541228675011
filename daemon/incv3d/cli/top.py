"""``incv3d top``: a running daemon, watched in the terminal."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from incv3d.cli.options import connect_option_help, key_option
from incv3d.cli.run import leave

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from incv3d.tools.top.watcher import DaemonWatcher

REDRAW_S = 0.5
FIRST_RESULT_S = 2.0
"""How long --once listens for a result to show."""
ONCE_HEIGHT = 40


@click.command()
@click.option("--connect", default="tcp://127.0.0.1:5555", show_default=True, help=connect_option_help)
@key_option
@click.option(
    "--results", metavar="ADDRESS", help="Where it publishes.  [default: the port after --connect's]"
)
@click.option(
    "--interval", "interval_s", type=click.FloatRange(0.2, 3600), default=1.0, show_default=True,
    help="Seconds between two questions.",
)  # fmt: skip
@click.option("--once", is_flag=True, help="Print what there is to see once, for scripts.")
def top(connect: str, key: str | None, results: str | None, interval_s: float, once: bool) -> None:
    """Watch a running daemon: frames a second, percentiles, run times, source, machine, latest results.

    It waits for a daemon that is away, and goes on when it is back. `q` or Ctrl-C ends it.
    """
    from rich.console import Console

    from incv3d.client.daemon_address import DOOR_PORT, connect_address
    from incv3d.tools.top.watcher import DaemonWatcher

    console = Console(highlight=False)
    if not once and not console.is_terminal:
        raise click.UsageError("standard output is not a terminal; --once prints what there is to see once")
    connect = connect_address(connect, DOOR_PORT)
    watch = DaemonWatcher(
        connect, results_beside(connect) if results is None else results, interval_s, key=key
    )
    watch.start()
    if once:
        _print_once(watch, console)
    else:
        _follow(watch, console)
    # Its listening thread may wait for a result that never comes.
    leave(0)


def results_beside(door: str) -> str:
    """Where a daemon publishes whose door is at `door`: the next port, as in the default configuration."""
    try:
        parts = urlsplit(door)
        port = parts.port
    except ValueError:
        return ""
    if parts.scheme != "tcp" or not parts.hostname or port is None:
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"tcp://{host}:{port + 1}"


def _print_once(watch: DaemonWatcher, console: Console) -> None:
    from incv3d.client import NoAnswer
    from incv3d.tools.top.watcher import ANSWER_S

    watch.wait_for(lambda view: view.stats is not None or view.away_since_s is not None, ANSWER_S + 10)
    if watch.view().stats:
        watch.wait_for(lambda view: bool(view.heard), FIRST_RESULT_S)
    view = watch.view()
    if not view.stats:
        raise NoAnswer(view.trouble)
    height = console.height if console.is_terminal else ONCE_HEIGHT
    console.print(_frame(watch, console.width, height))


def _follow(watch: DaemonWatcher, console: Console) -> None:
    from rich.console import ConsoleDimensions
    from rich.live import Live

    from incv3d.tools.top.terminal import single_keys, wait_for_quit

    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # the terminal is put right
    with (
        contextlib.suppress(KeyboardInterrupt),
        single_keys() as keyboard,
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        quit_pressed = False
        while not quit_pressed:
            # rich would keep $COLUMNS and $LINES, which some shells export, above what the terminal says now.
            console.size = ConsoleDimensions(*os.get_terminal_size(sys.stdout.fileno()))
            live.update(_frame(watch, console.width, console.height), refresh=True)
            quit_pressed = wait_for_quit(keyboard, REDRAW_S)


def _frame(watch: DaemonWatcher, width: int, height: int) -> RenderableType:
    from rich.console import Group

    from incv3d.tools.top.screen import screen

    return Group(*screen(watch.view(), width, height, time.time()))

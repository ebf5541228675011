"""``incv3d top``: watch a running daemon in the terminal."""

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
from incv3d.cli.output import leave

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from incv3d.tools.top.watcher import DaemonWatcher

REDRAW_S = 0.5
FIRST_RESULT_S = 2.0
"""How long --once waits for a result to show."""
ONCE_HEIGHT = 40


@click.command()
@click.option(
    "--connect",
    metavar="ADDRESS",
    default="tcp://127.0.0.1:5555",
    show_default=True,
    help=connect_option_help,
)
@key_option
@click.option(
    "--results",
    metavar="ADDRESS",
    help="Address of the published results.  [default: the port after that of --connect]",
)
@click.option(
    "--interval", "interval_s", type=click.FloatRange(0.2, 3600), default=1.0, show_default=True,
    help="Seconds between updates.",
)  # fmt: skip
@click.option("--once", is_flag=True, help="Print one update and exit, for scripts.")
def top(connect: str, key: str | None, results: str | None, interval_s: float, once: bool) -> None:
    """Watch a running daemon: frame rate, latency, source, machine and latest results.

    Waits while the daemon is not reachable, and continues when it is back. Press `q` or Ctrl-C to quit.
    """
    from rich.console import Console

    from incv3d.client.daemon_address import REQUEST_PORT, connect_address
    from incv3d.tools.top.watcher import DaemonWatcher

    console = Console(highlight=False)
    if not once and not console.is_terminal:
        raise click.UsageError("standard output is not a terminal; use --once to print one update")
    connect = connect_address(connect, REQUEST_PORT)
    watch = DaemonWatcher(
        connect, results_beside(connect) if results is None else results, interval_s, key=key
    )
    watch.start()
    if once:
        _print_once(watch, console)
    else:
        _follow(watch, console)
    # The listening thread may be waiting for a result.
    leave(0)


def results_beside(door: str) -> str:
    """Return where the daemon at `door` publishes by default: the next port; empty if that is unknown."""
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
        watch.wait_for(lambda view: bool(view.received), FIRST_RESULT_S)
    view = watch.view()
    if not view.stats:
        raise NoAnswer(view.error)
    height = console.height if console.is_terminal else ONCE_HEIGHT
    console.print(_frame(watch, console.width, height))


def _follow(watch: DaemonWatcher, console: Console) -> None:
    from rich.console import ConsoleDimensions
    from rich.live import Live

    from incv3d.tools.top.terminal import single_keys, wait_for_quit

    signal.signal(
        signal.SIGTERM, lambda number, frame: sys.exit(128 + number)
    )  # so that the terminal is restored
    with (
        contextlib.suppress(KeyboardInterrupt),
        single_keys() as keyboard,
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        quit_pressed = False
        while not quit_pressed:
            # rich prefers $COLUMNS and $LINES, which some shells export, to the terminal's current size.
            console.size = ConsoleDimensions(*os.get_terminal_size(sys.stdout.fileno()))
            live.update(_frame(watch, console.width, console.height), refresh=True)
            quit_pressed = wait_for_quit(keyboard, REDRAW_S)


def _frame(watch: DaemonWatcher, width: int, height: int) -> RenderableType:
    from rich.console import Group

    from incv3d.tools.top.screen import screen

    return Group(*screen(watch.view(), width, height, time.time()))

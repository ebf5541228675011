"""Print what commands report, and end the process."""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from rich.table import Table

PIPE_COLUMNS = 1000


def say(line: str) -> None:
    """Print a progress line to standard error; results go to standard output."""
    click.echo(line, err=True)


def print_table(table: Table) -> None:
    """Print `table`, as wide as the terminal, or in full width to a pipe."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else PIPE_COLUMNS
    Console(width=width, highlight=False, markup=False).print(table)


def leave(status: int) -> NoReturn:
    """End the process with `status`, even if other threads still run."""
    logging.shutdown()
    sys.stdout.flush()
    if threading.active_count() > 1:
        # A thread may be stuck in a library call; waiting for it could take forever.
        os._exit(status)
    sys.exit(status)

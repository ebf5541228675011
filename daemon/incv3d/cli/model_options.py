"""The model store that the configuration means, for the commands about models."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

UNCUT_COLUMNS = 1000

if TYPE_CHECKING:
    from rich.table import Table

    from incv3d.models.store import ModelStore


def configured_store(config_path: str | None) -> ModelStore:
    """The model store of the configuration at `config_path`.

    :raises ConfigError: when the configuration cannot be used.
    """
    from incv3d.config.loading import load_config
    from incv3d.config.paths import state_directory
    from incv3d.pipeline.loader import open_store

    return open_store(load_config(config_path).config, state_directory(os.environ))


def say(line: str) -> None:
    """A line for the person who waits; results go elsewhere."""
    click.echo(line, err=True)


def how_to_get(name: str) -> str:
    """What to do to have the known model `name`, in a few words."""
    from incv3d.models.resolve import EMBEDDED

    if name == EMBEDDED:
        return "comes with incv3d; built when first used"
    return f"not here: incv3d model fetch {name}"


def print_table(table: Table) -> None:
    """Print `table`: as wide as the terminal, and uncut for whoever reads it through a pipe."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else UNCUT_COLUMNS
    Console(width=width, highlight=False, markup=False).print(table)

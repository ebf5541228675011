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


def servants_store(config_path: str | None, *readable: str | None) -> ModelStore:
    """Return the store to change. A process of root becomes the service's user to change the service's store.

    :param readable: files that this user must be able to read then.
    :raises ConfigError: when the configuration cannot be used.
    :raises ModelError: the service's user cannot read a file that root can.
    """
    become_owner(config_path, *readable)
    return configured_store(config_path)


def become_owner(config_path: str | None, *readable: str | None) -> None:
    """Become the service's user if root is about to change the models of the service.

    :raises ModelError: the service's user cannot read a file of `readable` that root can.
    """
    from incv3d.models.entry import ModelError
    from incv3d.tools.doctor.service_user import become_servant

    there = [each for each in readable if each and os.access(each, os.R_OK, effective_ids=True)]
    user = become_servant(config_path, os.environ)
    for each in there:
        if not os.access(each, os.R_OK, effective_ids=True):
            raise ModelError(
                f"{each}: the service's user `{user}`, whose models these are, cannot read it: copy it to "
                f"where others can, /tmp for instance, with mode 644, and name the copy"
            )


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

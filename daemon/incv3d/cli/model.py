"""``incv3d model``: the models on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from incv3d.cli.options import config_option

if TYPE_CHECKING:
    from incv3d.models.store import ModelStore


@click.group()
def model() -> None:
    """The models on this machine: list, import, export, remove."""


@model.command("list")
@config_option
def list_models(config_path: str | None) -> None:
    """List the models in the store, and those that are known but not there."""
    from rich.console import Console
    from rich.table import Table

    from incv3d.models.catalog import load_catalog

    store = _store(config_path)
    table = Table(box=None, pad_edge=False)
    for heading in ("NAME", "INPUT", "OUTPUTS", "SIZE", "STATE"):
        table.add_column(heading, no_wrap=True)
    stored = {found.name: found for found in store.models()}
    for name, entry in sorted(load_catalog().items() | {(n, m.entry) for n, m in stored.items()}):
        found = stored.get(name)
        size = f"{found.size_bytes / 1e6:.1f} MB" if found else ""
        state = f"since {found.manifest.imported_at}" if found else _how_to_get(name)
        table.add_row(name, f"{entry.width}x{entry.height}", str(entry.outputs), size, state)
    console = Console(soft_wrap=True)
    console.print(table)
    console.print(f"store: {store.root}", highlight=False)


@model.command("import")
@click.argument("file")
@config_option
@click.option("--name", help="What to call it; a file that is known gets its own name.")
@click.option("--like", metavar="MODEL", help="The known model whose tensors, input and labels it has.")
@click.option("--replace", is_flag=True, help="Replace a model of this name.")
def import_file(
    file: str, config_path: str | None, name: str | None, like: str | None, replace: bool
) -> None:
    """Import FILE: Google's inception-2015-12-05.tgz, a frozen GraphDef (.pb), or an exported model."""
    from incv3d.models.importing import import_model
    from incv3d.models.preparation import ensure_prepared

    store = _store(config_path)
    stored = import_model(store, Path(file), name=name, like=like, replace=replace)
    ensure_prepared(stored, store, _say)
    click.echo(f"imported {stored.name}: {stored.entry.outputs} outputs, {stored.size_bytes / 1e6:.1f} MB")


@model.command("export")
@click.argument("name")
@click.argument("file")
@config_option
def export(name: str, file: str, config_path: str | None) -> None:
    """Write the model NAME, prepared, to FILE, for `incv3d model import` on a smaller machine."""
    from incv3d.models.resolve import resolve
    from incv3d.models.transfer import export_model

    found = resolve(name, _store(config_path), _say).model
    export_model(found, Path(file), _say)
    click.echo(f"exported {found.name} to {file}, {Path(file).stat().st_size / 1e6:.1f} MB")


@model.command("remove")
@click.argument("name")
@config_option
def remove(name: str, config_path: str | None) -> None:
    """Remove the model NAME from the store."""
    _store(config_path).remove(name)
    click.echo(f"removed {name}")


def _store(config_path: str | None) -> ModelStore:
    from incv3d.config import load_config
    from incv3d.loading import open_store
    from incv3d.paths import state_directory

    return open_store(load_config(config_path).config, state_directory(os.environ))


def _say(line: str) -> None:
    click.echo(line, err=True)


def _how_to_get(name: str) -> str:
    from incv3d.models.resolve import EMBEDDED

    return (
        "comes with incv3d; built when first used"
        if name == EMBEDDED
        else "not here: incv3d model import FILE"
    )

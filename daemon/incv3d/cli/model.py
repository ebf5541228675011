"""``incv3d model``: manage the models on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from incv3d.cli.model_convert import convert
from incv3d.cli.model_fetch import fetch
from incv3d.cli.model_options import configured_engine, configured_store, how_to_get, store_to_change
from incv3d.cli.model_prepare import prepare
from incv3d.cli.model_show import show, verify
from incv3d.cli.options import config_option
from incv3d.cli.output import print_table, say

if TYPE_CHECKING:
    from incv3d.config.preprocessing import PresetName
    from incv3d.models.conversions import Precision


@click.group()
def model() -> None:
    """Manage the models on this machine."""


for command in (show, fetch, prepare, convert, verify):
    model.add_command(command)


@model.command("list")
@config_option
def list_models(config_path: str | None) -> None:
    """List the models in the store, and the known ones that could be fetched."""
    from rich.table import Table

    from incv3d.models.catalog import load_catalog
    from incv3d.models.conversions import converted_precisions
    from incv3d.models.taught.store import TaughtStore

    store = configured_store(config_path)
    table = Table(box=None, pad_edge=False)
    for heading in ("NAME", "INPUT", "OUTPUTS", "SIZE"):
        table.add_column(heading, no_wrap=True)
    table.add_column("STATE")
    stored = {found.name: found for found in store.models()}
    damages = store.read_errors()
    catalog = {name: entry for name, entry in load_catalog().items() if name not in damages}
    entries = catalog | {name: found.entry for name, found in stored.items()}
    for name, entry in sorted(entries.items()):
        found = stored.get(name)
        size = f"{found.size_bytes / 1e6:.1f} MB" if found else ""
        state = f"since {found.manifest.imported_at}" if found else how_to_get(name)
        if found:
            state += "".join(f", litert {each}" for each in converted_precisions(found.directory))
        table.add_row(name, f"{entry.width}x{entry.height}", str(entry.outputs), size, state)
    taught = TaughtStore(store.root)
    for each in taught.models():
        state = f"taught on {each.facts.base}, {each.facts.taught_at}"
        table.add_row(each.name, "", str(len(each.facts.classes)), "", state)
    damages |= taught.read_errors()
    print_table(table)
    for damage in damages.values():
        click.echo(f"damaged: {damage}", err=True)
    click.echo(f"store: {store.root}")


@model.command("import")
@click.argument("file")
@config_option
@click.option("--name", metavar="NAME", help="Name for the model; a known file keeps its own name.")
@click.option("--like", metavar="MODEL", help="Known model that it was trained from.")
@click.option("--labels", metavar="LABELS", help="File with the names of its outputs, one per line.")
@click.option(
    "--preset",
    type=click.Choice(["torchvision", "timm", "timm-inception"]),
    help="Library whose preprocessing it was trained with.",
)
@click.option("--replace", is_flag=True, help="Replace the model with this name.")
def import_file(
    file: str,
    config_path: str | None,
    name: str | None,
    like: str | None,
    labels: str | None,
    preset: PresetName | None,
    replace: bool,
) -> None:
    """Import your own network, an exported model, or a known model's published file.

    Your own network can be a frozen graph (.pb), a SavedModel folder, or a .keras, .h5, .tflite
    or .onnx file.
    Labels are read from output_labels.txt or labels.txt in the same folder.
    """
    from incv3d.models.importing import import_model
    from incv3d.models.packed_weights import ensure_ready
    from incv3d.models.readiness import readiness_check

    if "://" in file:
        raise click.UsageError("FILE is a URL: download it with `incv3d model fetch NAME --url URL`")
    store, engine = store_to_change(config_path, file, labels), configured_engine(config_path)
    stored = import_model(
        store,
        Path(file),
        name=name,
        like=like,
        replace=replace,
        labels=Path(labels) if labels else None,
        progress=say,
        check=readiness_check(engine, say),
        preset=preset or "none",
    )
    if stored.entry.format == "tflite":
        ensure_ready(stored, store, say)
    click.echo(
        f"imported {stored.name}: {stored.entry.outputs} outputs, {stored.size_bytes / 1e6:.1f} MB; "
        f"to use it, set `model.name: {stored.name}` in the configuration"
    )


@model.command("export")
@click.argument("name")
@click.argument("file")
@config_option
def export(name: str, file: str, config_path: str | None) -> None:
    """Write the prepared model NAME to FILE, for `incv3d model import` on a smaller machine."""
    from incv3d.models.export import export_model
    from incv3d.models.resolve import resolve

    found = resolve(name, configured_store(config_path), say).model
    export_model(found, Path(file), say)
    click.echo(f"exported {found.name} to {file}, {Path(file).stat().st_size / 1e6:.1f} MB")


@model.command("remove")
@click.argument("name")
@config_option
@click.option(
    "--conversion",
    type=click.Choice(["float32", "int8"]),
    help="Remove only this LiteRT conversion of the model.",
)
def remove(name: str, config_path: str | None, conversion: Precision | None) -> None:
    """Remove the model NAME and its unfinished downloads, or only a conversion of it.

    A taught model is removed with its pictures.
    """
    from incv3d.models.conversions import folder_name
    from incv3d.models.fetch.fetch import remove_download
    from incv3d.models.taught.store import TaughtStore

    store = store_to_change(config_path)
    if conversion:
        store.detach(store.get(name), folder_name(conversion))
        click.echo(f"removed the conversion of {name} to {conversion}")
        return
    taught = TaughtStore(store.root)
    if taught.folder(name).is_dir():
        taught.remove(name)
        click.echo(f"removed {name}")
        return
    # An unfinished download may be all that the store has of it.
    if not remove_download(store, name) or name in store.names():
        store.remove(name)
    click.echo(f"removed {name}")

"""``incv3d model fetch``: download a model into the store."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from incv3d.cli.model_options import configured_engine, store_to_change
from incv3d.cli.options import config_option
from incv3d.cli.output import say

if TYPE_CHECKING:
    from incv3d.config.preprocessing import PresetName
    from incv3d.models.fetch.download import Progress


@click.command()
@click.argument("name")
@config_option
@click.option("--url", default="", metavar="URL", help="URL of a mirror, or of your own network.")
@click.option(
    "--like", metavar="MODEL", help="Known model with the same tensors and input as your own network."
)
@click.option(
    "--preset",
    type=click.Choice(["torchvision", "timm", "timm-inception"]),
    help="Library whose preprocessing your own network was trained with.",
)
@click.option("--sha256", default="", metavar="HEX", help="Expected SHA-256 of the file.")
@click.option("--replace", is_flag=True, help="Fetch it again and replace the model with this name.")
@click.option("--accept-new", is_flag=True, help="Accept a file that differs from the one fetched before.")
def fetch(
    name: str,
    config_path: str | None,
    url: str,
    like: str | None,
    preset: PresetName | None,
    sha256: str,
    replace: bool,
    accept_new: bool,
) -> None:
    """Fetch the known model NAME, or your own network from --url and name it NAME.

    Resumes interrupted downloads. Uses the proxies set in the environment.
    """
    from incv3d.models.fetch.download import RetryPolicy
    from incv3d.models.fetch.fetch import FetchRequest, fetch_model, manual_fetch_error
    from incv3d.models.fetch.http_client import UnreachableError
    from incv3d.models.readiness import readiness_check

    store = store_to_change(config_path)
    if "://" in name:
        raise click.UsageError("NAME must be a name for the model; pass its URL with --url")
    order = FetchRequest(name, url, like, preset or "none", sha256, replace or accept_new, accept_new)
    try:
        with _progress(name) as progress:
            check = readiness_check(configured_engine(config_path), say)
            fetched = fetch_model(store, order, RetryPolicy(), progress, say, check)
    except UnreachableError as error:
        raise manual_fetch_error(error, order) from None
    model = fetched.model
    if not fetched.sha256:
        click.echo(
            f"{name} has been in the store since {model.manifest.imported_at}; fetch again with --replace"
        )
        return
    click.echo(f"fetched {name}: {model.entry.outputs} outputs, {model.size_bytes / 1e6:.1f} MB")
    click.echo(f"SHA-256 of the file: {fetched.sha256}")


@contextlib.contextmanager
def _progress(name: str) -> Iterator[Progress]:
    """Show a progress bar on a terminal, otherwise lines."""
    from incv3d.models.fetch.download import progress_lines

    if not sys.stderr.isatty():
        yield progress_lines(name, say)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Bars("{task.description}", *columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(name, total=None)
        yield lambda have, total: bars.update(task, completed=have, total=total)

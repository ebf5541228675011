"""``incv3d model fetch``: a model from the network into the store."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from incv3d.cli.model_options import say, servants_store
from incv3d.cli.options import config_option

if TYPE_CHECKING:
    from incv3d.models.fetch.download import Progress


@click.command()
@click.argument("name")
@config_option
@click.option("--url", default="", help="A mirror; or where a network of your own lies.")
@click.option("--like", metavar="MODEL", help="The known model whose tensors and input your own network has.")
@click.option("--sha256", default="", metavar="HEX", help="What the file must have.")
@click.option("--replace", is_flag=True, help="Fetch it again, and replace the model of this name.")
@click.option("--accept-new", is_flag=True, help="Take a file other than the one that was fetched first.")
def fetch(
    name: str,
    config_path: str | None,
    url: str,
    like: str | None,
    sha256: str,
    replace: bool,
    accept_new: bool,
) -> None:
    """Fetch the known model NAME; or a network of your own, by --url, and call it NAME.

    A download that broke off is taken up where it ended. Proxies are those of the environment.
    """
    from incv3d.models.fetch.download import Deadline
    from incv3d.models.fetch.fetch import FetchRequest, by_hand, fetch_model
    from incv3d.models.fetch.http_client import UnreachableError
    from incv3d.models.prepare import preparation_check

    store = servants_store(config_path)
    if "://" in name:
        raise click.UsageError("NAME is what to call the model; its address goes behind --url")
    order = FetchRequest(name, url, like, sha256, replace or accept_new, accept_new)
    try:
        with _progress(name) as progress:
            fetched = fetch_model(store, order, Deadline(), progress, say, preparation_check(say))
    except UnreachableError as error:
        raise by_hand(error, order) from None
    model = fetched.model
    if not fetched.sha256:
        click.echo(f"{name} is there already, since {model.manifest.imported_at}; again: --replace")
        return
    click.echo(f"fetched {name}: {model.entry.outputs} outputs, {model.size_bytes / 1e6:.1f} MB")
    click.echo(f"SHA-256 of the file: {fetched.sha256}")


@contextlib.contextmanager
def _progress(name: str) -> Iterator[Progress]:
    """A bar on a terminal, lines elsewhere."""
    from incv3d.models.fetch.download import lines_of_progress

    if not sys.stderr.isatty():
        yield lines_of_progress(name, say)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Bars("{task.description}", *columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(name, total=None)
        yield lambda have, total: bars.update(task, completed=have, total=total)

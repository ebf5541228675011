"""``incv3d keys``: who may connect to the daemon from other machines."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from incv3d.cli.model_options import print_table, say
from incv3d.cli.options import config_option

if TYPE_CHECKING:
    from incv3d.transports.zeromq.key_store import KeyStore


@click.group()
def keys() -> None:
    """The keys of the daemon and its clients (CURVE): new, add, list, revoke.

    A running daemon lets clients in and out at once; a new server key counts from its next start.
    """


@keys.command()
@config_option
@click.option("--replace", is_flag=True, help="Replace the one there is; every client needs a new file then.")
def new(config_path: str | None, replace: bool) -> None:
    """Make the daemon's own key pair."""
    ring = _ring(config_path)
    ring.new(replace)
    click.echo(f"made the server's keys in {ring.folder}")
    say("next: `incv3d keys add CLIENT` for each client, and in the configuration an address that it can")
    say("reach, as in `intake: {bind: tcp://0.0.0.0:5555}`")


@keys.command()
@click.argument("client")
@config_option
@click.option("--out", metavar="FILE", help="What the client is to be given; - for standard output.")
@click.option("--public", metavar="KEY", help="The public key of a client that made its own pair.")
def add(client: str, config_path: str | None, out: str | None, public: str | None) -> None:
    """Let CLIENT in: makes CLIENT.key, the one file that its machine needs.

    The file holds the client's secret and is kept nowhere else.
    """
    ring = _ring(config_path)
    if public:
        if out:
            raise click.UsageError("--out and --public: a client that made its own pair needs no file")
        ring.add(client, public)
        say(f"{client} may connect; it needs the server's public key:")
        click.echo(ring.server_public())
    elif out == "-":
        click.echo(ring.hand_out(client, None), nl=False)
    else:
        target = Path(out or f"{client}.key")
        ring.hand_out(client, target)
        click.echo(f"{client} may connect, with {target}; copy it to its machine and delete it here")


@keys.command("list")
@config_option
def list_clients(config_path: str | None) -> None:
    """List the clients that may connect, with their public keys."""
    from datetime import UTC, datetime

    from rich.table import Table

    ring = _ring(config_path)
    table = Table(box=None, pad_edge=False)
    for heading in ("CLIENT", "SINCE", "PUBLIC KEY"):
        table.add_column(heading, no_wrap=True)
    server = ring.server_public().decode()
    for client in ring.clients().values():
        since = datetime.fromtimestamp(client.since, UTC)
        table.add_row(client.name, f"{since:%Y-%m-%d %H:%M}", client.public.decode())
    print_table(table)
    click.echo(f"server: {server} in {ring.folder}")


@keys.command()
@click.argument("client")
@config_option
def revoke(client: str, config_path: str | None) -> None:
    """Let CLIENT in no more; a running daemon hangs up on it."""
    _ring(config_path).revoke(client)
    click.echo(f"{client} may connect no more")


def _ring(config_path: str | None) -> KeyStore:
    from incv3d.config.loading import load_config
    from incv3d.config.paths import keys_folder
    from incv3d.transports.zeromq.key_store import KeyStore

    loaded = load_config(config_path)
    return KeyStore(keys_folder(loaded.config.intake.keys, loaded.path, os.environ))

"""``incv3d keys``: manage which clients may connect from other machines."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from incv3d.cli.options import config_option
from incv3d.cli.output import print_table, say

if TYPE_CHECKING:
    from incv3d.transports.zeromq.key_store import KeyStore


@click.group()
def keys() -> None:
    """Manage the CURVE keys of the daemon and its clients.

    A running daemon applies added and revoked clients at once, and a new server key at its next start.
    """


@keys.command()
@config_option
@click.option(
    "--replace", is_flag=True, help="Replace the existing key pair; every client then needs a new file."
)
def new(config_path: str | None, replace: bool) -> None:
    """Create the daemon's own key pair."""
    ring = _ring(config_path)
    ring.new(replace)
    click.echo(f"created the server's keys in {ring.folder}")
    say("next: run `incv3d keys add CLIENT` for each client, and set intake.bind to an address that clients")
    say("can reach, such as `intake: {bind: tcp://0.0.0.0:5555}`")


@keys.command()
@click.argument("client")
@config_option
@click.option(
    "--out", metavar="FILE", help="File to write for the client (default: CLIENT.key); - for standard output."
)
@click.option("--public", metavar="KEY", help="Public key of a client that created its own key pair.")
def add(client: str, config_path: str | None, out: str | None, public: str | None) -> None:
    """Let CLIENT connect: create CLIENT.key, the only file that its machine needs.

    The file contains the client's secret key, which is stored nowhere else.
    """
    ring = _ring(config_path)
    if public:
        if out:
            raise click.UsageError(
                "--out cannot be used with --public: a client with its own key pair needs no file"
            )
        ring.add(client, public)
        say(f"{client} may connect now; it needs the server's public key:")
        click.echo(ring.server_public())
    elif out == "-":
        click.echo(ring.issue(client, None), nl=False)
    else:
        target = Path(out or f"{client}.key")
        ring.issue(client, target)
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
    """Revoke the key of CLIENT; a running daemon closes its connections."""
    _ring(config_path).revoke(client)
    click.echo(f"{client} may no longer connect")


def _ring(config_path: str | None) -> KeyStore:
    from incv3d.config.loading import load_config
    from incv3d.config.paths import keys_folder
    from incv3d.transports.zeromq.key_store import KeyStore

    loaded = load_config(config_path)
    return KeyStore(keys_folder(loaded.config.intake.keys, loaded.path, os.environ))

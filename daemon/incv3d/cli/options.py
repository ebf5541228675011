"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

config_option = click.option(
    "--config",
    "config_path",
    metavar="FILE",
    help="Configuration (else $INCV3D_CONFIG, else /etc/incv3d/incv3d.yaml).",
)
key_option = click.option(
    "--key",
    metavar="FILE",
    envvar="INCV3D_KEY",
    help="The client's key, from `incv3d keys add`; else $INCV3D_KEY. With --connect.",
)
connect_option_help = "The daemon's door: HOST, HOST:PORT or tcp://HOST:PORT."
json_option = click.option("--json", "as_json", is_flag=True, help="JSON for programs instead of a table.")


source_option = click.option(
    "--source",
    "source_path",
    metavar="PATH",
    help="Instead of the configured source: a device, an address, a film, a picture, a folder; or `auto`.",
)


def source_keys(path: str | None) -> dict[str, object]:
    """The keys of the configuration that ``--source PATH`` overrides."""
    if not path:
        return {}
    return {"source.type": "auto", "source.path": path, "source.addresses": []}


def session_options(command: Command) -> Command:
    """``--model`` and ``--threads``, which every command that opens a Session takes."""
    command = click.option("--threads", type=int, help="Cores that one run may use; 0: all of them.")(command)
    return click.option("--model", "model_name", metavar="NAME", help="Which model; `auto` picks one.")(
        command
    )

"""Define the options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

config_option = click.option(
    "--config",
    "config_path",
    metavar="FILE",
    help="Configuration file (default: $INCV3D_CONFIG, else /etc/incv3d/incv3d.yaml).",
)
key_option = click.option(
    "--key",
    metavar="FILE",
    envvar="INCV3D_KEY",
    help="Client key file from `incv3d keys add` (default: $INCV3D_KEY); for --connect.",
)
connect_option_help = "The daemon's address: HOST, HOST:PORT or tcp://HOST:PORT."
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


frame_timeout_option = click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, min_open=True),
    default=20.0,
    show_default=True,
    help="Seconds to wait for an image.",
)
source_option = click.option(
    "--source",
    "source_path",
    metavar="PATH",
    help="Source to use instead of the configured one: a device, URL, video, image or folder; or `auto`.",
)


def source_keys(path: str | None) -> dict[str, object]:
    """Return the configuration keys that ``--source PATH`` overrides, with their values."""
    if not path:
        return {}
    return {"source.type": "auto", "source.path": path, "source.addresses": []}


def session_options(command: Command) -> Command:
    """Add ``--model`` and ``--threads``, for commands that open a Session."""
    command = click.option("--threads", type=int, help="Cores per run; 0 for all.")(command)
    return click.option("--model", "model_name", metavar="NAME", help="Model to use; `auto` picks one.")(
        command
    )

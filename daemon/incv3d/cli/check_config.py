"""``incv3d check-config``: is this configuration usable?"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from incv3d.cli.options import config_option

if TYPE_CHECKING:
    from incv3d.config import LoadedConfig


MUST_EXIST = ("custom.file", "custom.labels", "custom.golden_picture", "mqtt.password_file", "mqtt.ca_file",
              "http.token_file")  # fmt: skip
"""Keys of files that the daemon reads and never makes."""


@click.command("check-config")
@click.argument("file", required=False)
@config_option
@click.option("--show", is_flag=True, help="Print every key and the value in force.")
def check_config(file: str | None, config_path: str | None, show: bool) -> None:
    """Check FILE, or the configuration that `incv3d run` would take.

    Exit status 2 and one line with file, line and key if something is wrong with it.
    """
    from incv3d.access import door_keys
    from incv3d.config import ConfigError, as_builtins, load_config
    from incv3d.models.catalog import unused_custom
    from incv3d.sources.base import SourceMisnamed
    from incv3d.sources.opening import check_path

    loaded = load_config(file or config_path)
    door_keys(loaded, os.environ)
    _check_files(loaded)
    try:
        check_path(loaded.config.source)
    except SourceMisnamed as error:
        raise ConfigError(f"{loaded.place('source.path')}: {error}") from None
    if show:
        import msgspec

        click.echo(msgspec.yaml.encode(as_builtins(loaded.config)).decode().rstrip())
    else:
        click.echo(f"{loaded.origin}: fine")
    if unused := unused_custom(loaded.config):
        click.echo(f"incv3d: {loaded.origin}: warning: {unused}", err=True)


def _check_files(loaded: LoadedConfig) -> None:
    """Raise ConfigError if a file that the configuration names is not there."""
    from incv3d.config import ConfigError

    for key in MUST_EXIST:
        section, name = key.split(".")
        path = getattr(getattr(loaded.config, section), name)
        # What this user may not look at can still be there for the daemon's.
        with contextlib.suppress(PermissionError):
            if path and not Path(path).exists():
                raise ConfigError(f"{loaded.place(key)}: {path}: no such file")

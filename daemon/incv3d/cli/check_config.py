"""``incv3d check-config``: is this configuration usable?"""

from __future__ import annotations

import os

import click

from incv3d.cli.options import config_option


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
    from incv3d.sources.base import SourceMisnamed
    from incv3d.sources.opening import check_path

    loaded = load_config(file or config_path)
    door_keys(loaded, os.environ)
    try:
        check_path(loaded.config.source)
    except SourceMisnamed as error:
        raise ConfigError(f"{loaded.place('source.path')}: {error}") from None
    if show:
        import msgspec

        click.echo(msgspec.yaml.encode(as_builtins(loaded.config)).decode().rstrip())
    else:
        click.echo(f"{loaded.origin}: fine")

"""``incv3d check-config``: check whether a configuration can be used."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, NoReturn

import click

from incv3d.cli.options import config_option, json_option

if TYPE_CHECKING:
    from incv3d.app.prerequisites import Mistake


@click.command("check-config")
@click.argument("file", required=False)
@config_option
@json_option
@click.option("--show", is_flag=True, help="Print every key with its effective value.")
def check_config(file: str | None, config_path: str | None, as_json: bool, show: bool) -> None:
    """Check FILE, or the configuration that `incv3d run` would use.

    Prints one line per mistake, with file, line and key; exit status 2 if there are any. As root,
    checks the service's configuration with the permissions of the service's user.
    """
    from incv3d.app import prerequisites
    from incv3d.config.loading import ConfigError, as_builtins, load_config
    from incv3d.models.catalog import unused_custom
    from incv3d.tools.doctor.service_user import become_service_user, current_user

    try:
        user = become_service_user(file or config_path, os.environ)
        loaded = load_config(file or config_path)
    except ConfigError as error:
        if not as_json:
            raise
        _print_json(file or config_path, current_user(), [prerequisites.Mistake("", str(error))])
    mistakes = prerequisites.find_mistakes(loaded, os.environ)
    if as_json:
        _print_json(loaded.origin, user, mistakes)
    if unused := unused_custom(loaded.config):
        click.echo(f"incv3d: {loaded.origin}: warning: {unused}", err=True)
    if mistakes:
        raise prerequisites.Mistakes(mistakes)
    if show:
        import msgspec

        click.echo(msgspec.yaml.encode(as_builtins(loaded.config)).decode().rstrip())
    else:
        click.echo(f"{loaded.origin}: ok")


def _print_json(origin: str | None, user: str, mistakes: list[Mistake]) -> NoReturn:
    import msgspec

    found = [asdict(mistake) for mistake in mistakes]
    click.echo(msgspec.json.encode({"origin": origin, "user": user, "mistakes": found}))
    sys.exit(2 if mistakes else 0)

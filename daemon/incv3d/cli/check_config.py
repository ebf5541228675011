"""``incv3d check-config``: is this configuration usable?"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict

import click

from incv3d.cli.options import config_option, json_option


@click.command("check-config")
@click.argument("file", required=False)
@config_option
@json_option
@click.option("--show", is_flag=True, help="Print every key and the value in force.")
def check_config(file: str | None, config_path: str | None, as_json: bool, show: bool) -> None:
    """Check FILE, or the configuration that `incv3d run` would take, as `incv3d run` does.

    Exit status 2 and one line for each mistake, with file, line and key. Root is told what
    the service's user would be, if it is the service's configuration.
    """
    from incv3d.app import prerequisites
    from incv3d.config.loading import as_builtins, load_config
    from incv3d.models.catalog import unused_custom
    from incv3d.tools.doctor.service_user import become_servant

    user = become_servant(file or config_path, os.environ)
    loaded = load_config(file or config_path)
    mistakes = prerequisites.find_mistakes(loaded, os.environ)
    if as_json:
        import msgspec

        found = [asdict(mistake) for mistake in mistakes]
        click.echo(msgspec.json.encode({"origin": loaded.origin, "user": user, "mistakes": found}))
        sys.exit(2 if mistakes else 0)
    if unused := unused_custom(loaded.config):
        click.echo(f"incv3d: {loaded.origin}: warning: {unused}", err=True)
    if mistakes:
        raise prerequisites.Mistakes(mistakes)
    if show:
        import msgspec

        click.echo(msgspec.yaml.encode(as_builtins(loaded.config)).decode().rstrip())
    else:
        click.echo(f"{loaded.origin}: fine")

"""``incv3d notify``: send a test message to the configured services."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from incv3d.cli.options import config_option


@click.group()
def notify() -> None:
    """Notifications: see which services would get them."""


@notify.command()
@config_option
def test(config_path: str | None) -> None:
    """Send a test message, with an image, to every service; exit with 1 if one did not take it."""
    from incv3d.config.loading import ConfigError, load_config
    from incv3d.images.demo import demo_folder
    from incv3d.notify.services import read_services

    section = load_config(config_path).config.notify
    if not section.urls_file:
        raise ConfigError(
            "notify.urls_file: is not set; it names the file with the addresses of the services"
        )
    image = sorted(demo_folder().glob("*.jpg"))[0]
    has_failed = False
    for service in read_services(Path(section.urls_file)):
        reason = service.send("incv3d", "This is a test.", image)
        has_failed |= bool(reason)
        click.echo(f"{service.shown}: {f'failed: {reason}' if reason else 'sent'}")
    sys.exit(int(has_failed))

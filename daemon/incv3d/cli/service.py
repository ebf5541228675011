"""``incv3d service``: install, upgrade or remove the systemd service."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

import incv3d

PACKAGE = Path(incv3d.__file__).parent
PASSED_ON = {"ignore_unknown_options": True, "help_option_names": []}
"""Options are passed on to the scripts in ``systemd/``."""


def scripts_folder() -> Path:
    """Return the folder with the installation scripts: in the wheel, or in the checkout."""
    packed = PACKAGE / "service" / "systemd"
    return packed if packed.is_dir() else PACKAGE.parent.parent / "systemd"


def run_script(name: str, options: tuple[str, ...]) -> None:
    """Replace this process with a script, which may remove the environment that this process runs from."""
    script = scripts_folder() / name
    program = Path(sys.argv[0]).absolute()
    started_as = f"{sys.executable} -m incv3d" if program.name == "__main__.py" else program
    command = f"{started_as} service {name}"
    environ = {**os.environ, "INCV3D_PYTHON": sys.executable, "INCV3D_COMMAND": command}
    os.execvpe("sh", ["sh", str(script), *options], environ)


@click.group()
def service() -> None:
    """Install, upgrade or remove the systemd service (as root).

    Installs this version in /opt/incv3d, independent of the environment that this command runs from. The
    scripts are those in systemd/ of a checkout, with the same options.
    """


@service.command(context_settings=PASSED_ON)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def install(options: tuple[str, ...]) -> None:
    """Install the service and start it (see its --help for options)."""
    run_script("install", options)


@service.command(context_settings=PASSED_ON)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def upgrade(options: tuple[str, ...]) -> None:
    """Upgrade the installed service to this version."""
    run_script("upgrade", options)


@service.command(context_settings=PASSED_ON)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def uninstall(options: tuple[str, ...]) -> None:
    """Remove the service; --purge also removes models, logs and configuration."""
    run_script("uninstall", options)

"""Parse the command line. Each command reads its options, calls a room and prints.

A command's module is imported when the command is used, and heavy libraries (NumPy, the engines, ZeroMQ)
are imported inside the commands that need them, so that every command starts quickly.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from incv3d import __version__
from incv3d.config.address import Address
from incv3d.errors import Incv3dError

COMMANDS = (
    "run", "classify", "send", "top", "log", "plot", "snapshot", "cameras", "model", "teach", "keys", "bench",
    "history", "notify", "info", "doctor", "check-config", "service",
)  # fmt: skip
"""Each is a function of the same name in a module of this folder."""


class Commands(click.Group):
    """A click group that imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, sorted."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command with this name, or None if the name is unknown."""
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"incv3d.cli.{name}"), name)
        return command


@click.command(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="incv3d")
def cli() -> None:
    """Keep an Inception-v3 Session warm: classify frames, and log the latency."""


def without_secrets(message: str, words: Sequence[str]) -> str:
    """Hide in `message` the secrets of the addresses among `words`, which an error may repeat."""
    for word in words:
        for address in (Address(word), Address(word.partition("=")[2])):
            message = address.hide(message)
    return message


def with_home(words: Sequence[str]) -> list[str]:
    """Expand each ``~`` that the shell left alone: in ``--config=~/x`` and in quotes."""
    parts = [re.fullmatch(r"(--[\w-]+=)?(~[^=]*)", word, re.DOTALL) for word in words]
    return [
        f"{part[1] or ''}{os.path.expanduser(part[2])}" if part else word  # noqa: PTH111 - it may be a pattern
        for word, part in zip(words, parts, strict=True)
    ]


def main() -> None:
    """Run the command ``incv3d``; turn this project's errors into one line and an exit status."""
    try:
        cli.main(with_home(sys.argv[1:]), prog_name="incv3d", standalone_mode=False)
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        click.echo(without_secrets(shown.getvalue(), sys.argv), nl=False, err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except Incv3dError as error:
        for line in error.lines:
            click.echo(f"incv3d: {without_secrets(line, sys.argv)}", err=True)
        sys.exit(2 if error.is_lasting else 1)
    except BrokenPipeError:
        # The reader of our output has exited (`incv3d classify … | head -1`).
        sys.stderr.close()
        sys.exit(1)

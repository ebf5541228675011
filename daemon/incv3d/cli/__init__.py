"""The command line. Thin: each command parses its words and hands over to a room.

What is heavy (NumPy, the engines, ZeroMQ) is imported inside the commands that use it, so that
``incv3d --help`` answers at once.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Sequence

import click

from incv3d import __version__
from incv3d.address import Address
from incv3d.cli.bench import bench
from incv3d.cli.cameras import cameras
from incv3d.cli.check_config import check_config
from incv3d.cli.classify import classify
from incv3d.cli.doctor import doctor
from incv3d.cli.info import info
from incv3d.cli.keys import keys
from incv3d.cli.log import log
from incv3d.cli.model import model
from incv3d.cli.plot import plot
from incv3d.cli.run import run
from incv3d.cli.send import send
from incv3d.cli.snapshot import snapshot
from incv3d.cli.top import top
from incv3d.errors import Incv3dError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="incv3d")
def cli() -> None:
    """A warmed Inception-v3 Session that stays warm: frames in, labels out, latency in a log."""


COMMANDS = (
    run, classify, send, top, log, plot, snapshot, cameras, model, keys, bench, info, doctor, check_config,
)  # fmt: skip
for command in COMMANDS:
    cli.add_command(command)


def without_secrets(message: str, words: Sequence[str]) -> str:
    """`message` without the secrets of the addresses among `words`, which a command may repeat."""
    for word in words:
        for address in (Address(word), Address(word.partition("=")[2])):
            message = address.hide(message)
    return message


def with_home(words: Sequence[str]) -> list[str]:
    """`words` with ``~`` as the home folder where the shell left it: in ``--config=~/x`` and in quotes."""
    parts = [re.fullmatch(r"(--[\w-]+=)?(~[^=]*)", word, re.DOTALL) for word in words]
    return [
        f"{part[1] or ''}{os.path.expanduser(part[2])}" if part else word  # noqa: PTH111 - it may be a pattern
        for word, part in zip(words, parts, strict=True)
    ]


def main() -> None:
    """The command ``incv3d``: run, and turn this project's errors into one line and an exit status."""
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
        sys.exit(error.exit_status)
    except BrokenPipeError:
        # The reader of our output went away (`incv3d classify … | head -1`); nobody is left to tell.
        sys.stderr.close()
        sys.exit(1)

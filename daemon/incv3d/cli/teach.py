"""``incv3d teach``: teach a model the owner's own classes."""

from __future__ import annotations

import os
from typing import Any

import click

from incv3d.cli.options import config_option, json_option, key_option
from incv3d.cli.teach_export import export
from incv3d.cli.teach_pictures import add, capture
from incv3d.cli.teach_show import list_taught, report, revert

HELP = """Teach a model your own classes, with a few pictures of each.

\b
  incv3d teach FOLDER --use           a folder of pictures for each class
  incv3d teach capture empty          pictures of the camera, as the class `empty`
  incv3d teach --name feeder          once more, with all pictures that it has

Every folder in FOLDER is a class: FOLDER/empty/*.jpg, FOLDER/full/*.jpg. The taught model is called like
the folder, and `model.name` or --use lets the daemon classify with it. It says `unknown` of what resembles
nothing that it was taught. The report says how good it is on pictures that it has not seen.
"""


class Teach(click.Group):
    """A group whose first word, if it is none of its commands, is a folder to teach from."""

    allow_extra_args = False
    allow_interspersed_args = True

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Return the context of one of the commands, or that of teaching from a folder."""
        if args and args[0] in self.commands:
            plain = click.Group(self.name, self.commands)
            return plain.make_context(info_name, args, parent, **extra)
        return super().make_context(info_name, args or ["--help"], parent, **extra)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options of teaching from a folder."""
        return click.Command.parse_args(self, ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Teach from a folder."""
        return click.Command.invoke(self, ctx)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return the rest of the line with the usage."""
        return ["[OPTIONS] [FOLDER] | COMMAND ..."]


@click.group(cls=Teach, help=HELP, no_args_is_help=False)
@click.argument("folder", required=False)
@config_option
@key_option
@click.option("--name", metavar="NAME", help="Name of the taught model.  [default: that of the folder]")
@click.option(
    "--base",
    metavar="MODEL",
    help="Model whose network looks.  [default: that of last time, or the configured one]",
)
@click.option("--test", "test_folder", metavar="FOLDER", help="Pictures that only test, by class.")
@click.option(
    "--fit",
    type=click.Choice(["stretch", "crop"]),
    help="Show the network the whole picture, or its middle.  [default: whichever is better]",
)
@click.option("--from-saved", is_flag=True, help="Use the pictures saved of events, by their file names.")
@click.option("--dry-run", is_flag=True, help="Report only: keep nothing.")
@click.option("--use", is_flag=True, help="Set `model.name`, and let the running daemon take it over.")
@click.option("--force", is_flag=True, help="Keep it even if it is worse than before, or than guessing.")
@json_option
def teach(**options: Any) -> None:
    """Teach from a folder, or once more with what the set has."""
    # Before NumPy is imported: on a busy machine, threads that wait for each other are slower than one.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from incv3d.cli.teach_lesson import Options, give_lesson

    give_lesson(Options(**options))


for command in (add, capture, export, list_taught, report, revert):
    teach.add_command(command)

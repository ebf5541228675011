"""``incv3d teach add`` and ``capture``: collect pictures to teach a model."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from incv3d.cli.options import config_option, frame_timeout_option, key_option
from incv3d.cli.output import leave, say
from incv3d.cli.teach_options import name_option, open_teaching

if TYPE_CHECKING:
    from pathlib import Path

    from incv3d.cli.teach_options import Teaching

MOST_FRAMES = 500
"""More of one moment teach nothing."""


@click.command()
@click.argument("class_name", metavar="CLASS")
@click.argument("pictures", metavar="PICTURE...", nargs=-1, required=True)
@config_option
@name_option
def add(class_name: str, pictures: tuple[str, ...], config_path: str | None, name: str | None) -> None:
    """Add each PICTURE (a file, a folder, a pattern) to the class CLASS, as a copy in the state directory.

    A picture that is there already, in another class, is moved: that corrects it.
    """
    from incv3d.errors import Incv3dError
    from incv3d.sources.image_files import find_images

    teaching = open_teaching(config_path, *pictures)
    name = teaching.find_name(name)
    teaching.taught.check_free(name)
    failures = added = moved = there = 0
    for path in [found for each in pictures for found in find_images(each)]:
        try:
            before, after = _add(teaching, name, class_name, path)
        except Incv3dError as error:
            failures += 1
            say(f"incv3d: {error}")
            continue
        added += not before
        moved += before not in ("", after)
        there += before == after
    told = {"added": added, "moved there": moved, "in it already": there, "left out": failures}
    counts = ", ".join(f"{count} {what}" for what, count in told.items() if count)
    click.echo(f"{class_name}: {counts}")
    _say_what_is_next(teaching, name)
    if failures:
        sys.exit(1)


def _add(teaching: Teaching, name: str, class_name: str, path: Path) -> tuple[str, str]:
    """Add a file; return the class that the picture had, if any, and the one that it has now."""
    from incv3d.sources.image_files import read_image
    from incv3d.teaching.picture_names import read_name
    from incv3d.teaching.taken_at import time_in_exif

    data = read_image(path)
    known = read_name(path)
    at = known.at_unix_s if known else time_in_exif(data)
    source = known.source if known else path.stem
    pictures = teaching.pictures(name)
    before = pictures.class_of(data)
    return before, pictures.add(class_name, data, source, at).class_name


@click.command()
@click.argument("class_name", metavar="CLASS")
@config_option
@key_option
@name_option
@click.option(
    "--frames", type=click.IntRange(1, MOST_FRAMES), default=30, show_default=True, metavar="N",
    help="Number of pictures.",
)  # fmt: skip
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(0, 3600),
    default=0.5,
    show_default=True,
    help="Seconds between two pictures, in which to move what is taught, or the light.",
)
@click.option("--region", metavar="REGION", help="Region of the source, if it has several; or CAMERA.REGION.")
@frame_timeout_option
def capture(
    class_name: str,
    config_path: str | None,
    key: str | None,
    name: str | None,
    frames: int,
    every_s: float,
    region: str | None,
    timeout_s: float,
) -> None:
    """Capture what the source sees now as pictures of the class CLASS.

    Asks the running daemon for its frames; if none runs, opens the configured source itself.
    """
    from incv3d.cli.teach_source import captured
    from incv3d.images.encode import encode_classified

    teaching = open_teaching(config_path)
    name = teaching.find_name(name)
    teaching.taught.check_free(name)
    config = teaching.loaded.config
    pictures = teaching.pictures(name)
    taken = 0
    is_terminal = sys.stderr.isatty()
    source = captured(teaching.loaded, key, region, every_s, timeout_s)
    for frame, at_unix_s in source:
        pictures.add(class_name, encode_classified(frame, config.intake.max_pixels), frame.source, at_unix_s)
        taken += 1
        if is_terminal:
            click.echo(f"\r{class_name}: {taken} of {frames}", nl=False, err=True)
        if taken == frames:
            break
    if is_terminal:
        click.echo(err=True)
    click.echo(f"{class_name}: {taken} captured")
    _say_what_is_next(teaching, name)
    # The camera library may have threads of its own, or a call to it may hang.
    leave(0)


def _say_what_is_next(teaching: Teaching, name: str) -> None:
    counts = teaching.pictures(name).counts()
    classes = ", ".join(f"{each} {count}" for each, count in counts.items())
    say(f"{name} has these pictures of its own: {classes or 'none'}")
    if len(counts) > 1 or teaching.taught.find(name):
        say(f"next: incv3d teach --name {name}")
    else:
        say(f"next: pictures of another class (`other` for anything else); then: incv3d teach --name {name}")

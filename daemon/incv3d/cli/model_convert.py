"""``incv3d model convert``: a model for LiteRT, calibrated with one's own pictures and compared on others."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

import click

from incv3d.cli.model_options import become_owner
from incv3d.cli.options import config_option, json_option

if TYPE_CHECKING:
    from collections.abc import Iterable

    from incv3d.config.schema import Config
    from incv3d.frames import Frame
    from incv3d.models.conversions import Comparison, Precision
    from incv3d.models.store import ModelStore, StoredModel
    from incv3d.tools.conversion.convert import Outcome


@click.command()
@click.argument("name")
@click.argument("more", metavar="", nargs=-1)
@config_option
@click.option("--to", "precision", type=click.Choice(["float32", "int8"]), required=True)
@click.option(
    "--pictures", metavar="PATH...", multiple=True, help="Files, folders or patterns; 100 to 300 are good."
)
@click.option("--frames", type=int, metavar="N", help="Capture N frames from the configured source instead.")
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 1),
    help="Top-1 agreement below which it is not kept  [default: 0.94 for int8, 0.99 for float32]",
)
@click.option("--threads", type=int, help="Cores that one run may use while comparing; 0: all of them.")
@json_option
def convert(
    name: str,
    more: tuple[str, ...],
    config_path: str | None,
    precision: Precision,
    pictures: tuple[str, ...],
    frames: int | None,
    min_agreement: float | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Convert the model NAME for LiteRT, and compare it with the float Session.

    Half of the pictures calibrate int8, the other half shows how well it agrees. What agrees is kept beside
    the model, and `session.engine: auto` runs it from then on; what does not is thrown away (status 1).
    """
    from incv3d.config.loading import load_config
    from incv3d.config.paths import state_directory
    from incv3d.pipeline.loader import open_store
    from incv3d.tools.conversion.convert import AGREEMENT, Wanted, convert_model

    if bool(pictures) == (frames is not None):
        raise click.UsageError("name pictures (--pictures PATH...), or capture some (--frames N)")
    if more and not pictures:
        raise click.UsageError(f"unexpected: {' '.join(more)}")
    become_owner(config_path, *pictures, *more)
    config = load_config(config_path, overrides={"session.threads": threads}).config
    store = open_store(config, state_directory(os.environ))
    found, number = _frames(config, (*pictures, *more), frames)
    with _Steps() as steps:
        model = _find(name, config, store, steps)
        wanted = Wanted(
            precision=precision,
            frames=found,
            number=number,
            in_blocks=frames is not None,
            min_agreement=AGREEMENT[precision] if min_agreement is None else min_agreement,
        )
        outcome = convert_model(config, store, model, wanted, steps)
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(_as_json(name, outcome)))
    else:
        _show(name, outcome)
    if outcome.kept is None:
        click.echo(f"incv3d: {name} to {precision} is not kept: {outcome.complaint}", err=True)
        sys.exit(1)


def _frames(
    config: Config, pictures: tuple[str, ...], frames: int | None
) -> tuple[Iterable[Frame | None], int]:
    """The pictures as they come, and how many at most."""
    from itertools import islice

    from incv3d.sources import SourceError, source_opener
    from incv3d.tools.conversion.calibration import (
        FEWEST,
        MOST,
        PATIENCE_S,
        captured_frames,
        frames_of,
        picture_files,
    )

    if frames is None:
        files = picture_files(pictures)
        return frames_of(files), len(files)
    if not FEWEST <= frames <= MOST:
        raise click.UsageError(f"--frames: from {FEWEST} to {MOST}, 100 to 300 are good")
    open_source = source_opener(config.source)
    if open_source is None:
        raise SourceError("source.type: no source is configured to capture frames from")
    source = config.source
    captured = captured_frames(open_source, source.frame_interval_s, PATIENCE_S, source.named_regions)
    return islice(captured, frames), frames


def _find(name: str, config: Config, store: ModelStore, steps: _Steps) -> StoredModel:
    import msgspec

    from incv3d.models.resolve import resolve
    from incv3d.pipeline.loader import find_model

    if config.custom.file and name == config.model.name:
        # The network that the configuration describes, whether the store has it or not.
        engine = msgspec.structs.replace(config.session, engine="auto")
        return find_model(msgspec.structs.replace(config, session=engine), store, steps.step).model
    return resolve(name, store, steps.step).model


class _Steps:
    """Tells on standard error which step runs, how far it is, and what it took."""

    def __init__(self) -> None:
        self._tty = sys.stderr.isatty()
        self._what = ""
        self._began = 0.0

    def __enter__(self) -> _Steps:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._end()
        elif self._tty and self._what:
            click.echo(err=True)  # the error begins on a line of its own

    def step(self, what: str) -> None:
        """A new step begins."""
        self._end()
        self._what, self._began = what, time.monotonic()
        if self._tty:
            click.echo(f"{what} ...", err=True, nl=False)

    def count(self, done: int, total: int) -> None:
        """So much of the step is done."""
        if self._tty:
            click.echo(f"\r\x1b[K{self._what} ... {done} of {total}", err=True, nl=False)

    def _end(self) -> None:
        if self._what:
            start = "\r\x1b[K" if self._tty else ""
            click.echo(f"{start}{self._what}: {time.monotonic() - self._began:.1f} s", err=True)
        self._what = ""


def _as_json(name: str, outcome: Outcome) -> dict[str, object]:
    return {
        "model": name,
        "precision": outcome.precision,
        "kept": outcome.kept is not None,
        "complaint": outcome.complaint,
        "calibration_pictures": len(outcome.pictures.calibrating),
        "damaged_pictures": outcome.pictures.damaged,
        "repeated_pictures": outcome.pictures.repeated,
        "comparison": outcome.comparison,
    }


def _show(name: str, outcome: Outcome) -> None:
    from rich.console import Console
    from rich.table import Table

    compared, pictures = outcome.comparison, outcome.pictures
    table = Table(box=None, pad_edge=False)
    table.add_column(f"{name}, {compared.threads} threads", no_wrap=True)
    for heading in ("float Session", f"LiteRT {outcome.precision}", "ratio"):
        table.add_column(heading, justify="right", no_wrap=True)
    for what, one, other, form in _rows(compared):
        ratio = f"{other / one:.2f}" if one else ""
        table.add_row(what, format(one, form), format(other, form), ratio)
    for what, value in _agreement(compared):
        table.add_row(what, "", value, "")
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    console.print(
        f"on {compared.pictures} pictures that it was not calibrated with; "
        f"{len(pictures.calibrating)} calibrated it, {pictures.damaged} were damaged, "
        f"{pictures.repeated} repeated"
    )
    if outcome.kept:
        console.print(f"kept: `session.engine: auto` runs {name} on LiteRT {outcome.precision} now")


def _rows(compared: Comparison) -> list[tuple[str, float, float, str]]:
    one, other = compared.session, compared.conversion
    return [
        ("median run, ms", one.run_ms, other.run_ms, ".1f"),
        ("peak memory of its process, MiB", one.peak_memory_mb, other.peak_memory_mb, ".0f"),
        ("file, MB", one.size_bytes / 1e6, other.size_bytes / 1e6, ".1f"),
        ("distinct scores", one.distinct_scores, other.distinct_scores, ","),
    ]


def _agreement(compared: Comparison) -> list[tuple[str, str]]:
    return [
        ("top-1 agreement", f"{compared.top1_agreement:.1%}"),
        ("float's first in the five best", f"{compared.top5_agreement:.1%}"),
        ("largest score difference", f"{compared.largest_difference:.4f}"),
        ("median difference of the first", f"{compared.median_difference:.4f}"),
    ]

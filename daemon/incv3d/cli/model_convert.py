"""``incv3d model convert``: convert a model to LiteRT, and compare the two."""

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
    from incv3d.tools.conversion.convert import ConversionResult


@click.command()
@click.argument("name")
@click.argument("more", metavar="", nargs=-1)
@config_option
@click.option(
    "--to",
    "precision",
    type=click.Choice(["float32", "int8"]),
    required=True,
    help="Precision of the weights.",
)
@click.option(
    "--pictures",
    metavar="PATH...",
    multiple=True,
    help="Image files, folders or patterns; 100 to 300 images work well.",
)
@click.option("--frames", type=int, metavar="N", help="Capture N frames from the configured source instead.")
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 1),
    help="Minimum top-1 agreement to keep the conversion.  [default: 0.94 for int8, 0.99 for float32]",
)
@click.option("--threads", type=int, help="Cores per run while comparing; 0 for all.")
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
    """Convert the model NAME to LiteRT, and compare the result with the float Session.

    For int8, half of the images calibrate the conversion; the other half measures the agreement. If that is
    high enough, the conversion is kept, and `session.engine: auto` uses it where it is the fastest;
    otherwise it is discarded, with exit status 1.
    """
    from incv3d.config.loading import load_config
    from incv3d.config.paths import state_directory
    from incv3d.pipeline.loader import open_store
    from incv3d.tools.conversion.convert import AGREEMENT, ConversionRequest, convert_model

    if bool(pictures) == (frames is not None):
        raise click.UsageError("use either --pictures PATH... or --frames N")
    if more and not pictures:
        raise click.UsageError(f"unexpected: {' '.join(more)}")
    become_owner(config_path, *pictures, *more)
    config = load_config(config_path, overrides={"session.threads": threads}).config
    store = open_store(config, state_directory(os.environ))
    found, number = _frames(config, (*pictures, *more), frames)
    with _Steps() as steps:
        model = _find(name, config, store, steps)
        request = ConversionRequest(
            precision=precision,
            frames=found,
            number=number,
            in_blocks=frames is not None,
            min_agreement=AGREEMENT[precision] if min_agreement is None else min_agreement,
        )
        result = convert_model(config, store, model, request, steps)
        use = _use(load_config(config_path).config, store, model.name, steps) if result.kept else ""
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(_as_json(name, result)))
    else:
        _show(name, result)
        if use:
            click.echo(f"kept: {use}")
    if result.kept is None:
        click.echo(
            f"incv3d: the conversion of {name} to {precision} was not kept: {result.complaint}", err=True
        )
        sys.exit(1)


def _frames(
    config: Config, pictures: tuple[str, ...], frames: int | None
) -> tuple[Iterable[Frame | None], int]:
    """Return the frames, and the maximum number of them."""
    from itertools import islice

    from incv3d.sources import SourceError, source_opener
    from incv3d.tools.conversion.calibration import (
        FEWEST,
        FRAME_TIMEOUT_S,
        MOST,
        captured_frames,
        frames_of,
        image_files,
    )

    if frames is None:
        files = image_files(pictures)
        return frames_of(files), len(files)
    if not FEWEST <= frames <= MOST:
        raise click.UsageError(f"--frames must be from {FEWEST} to {MOST}; 100 to 300 work well")
    source = next(iter(config.all_sources.values()), config.source)
    open_source = source_opener(source)
    if open_source is None:
        raise SourceError("no source is configured to capture frames from: set source.path")
    captured = captured_frames(open_source, source.frame_interval_s, FRAME_TIMEOUT_S, source.named_regions)
    return islice(captured, frames), frames


def _find(name: str, config: Config, store: ModelStore, steps: _Steps) -> StoredModel:
    import msgspec

    from incv3d.models.resolve import resolve
    from incv3d.pipeline.loader import find_model

    if config.custom.file and name == config.model.name:
        # The network described in the configuration, which may not be in the store yet.
        engine = msgspec.structs.replace(config.session, engine="auto")
        return find_model(msgspec.structs.replace(config, session=engine), store, steps.step).model
    return resolve(name, store, steps.step).model


def _use(config: Config, store: ModelStore, name: str, steps: _Steps) -> str:
    """Return what the configured engine makes of a new conversion."""
    from incv3d.pipeline.engine_choice import choose_fastest
    from incv3d.pipeline.session_spec import spec_of

    model = store.get(name)
    choice = choose_fastest(config, model, spec_of(config, model), store, steps.step)
    if choice:
        return f"`session.engine: auto` takes {choice.why}"
    return f"`session.engine` is {config.session.engine}"


class _Steps:
    """Shows on standard error which step runs, its progress, and how long it took."""

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
            click.echo(err=True)  # the error starts on a new line

    def step(self, what: str) -> None:
        """Begin a new step."""
        self._end()
        self._what, self._began = what, time.monotonic()
        if self._tty:
            click.echo(f"{what} ...", err=True, nl=False)

    def count(self, done: int, total: int) -> None:
        """Show how much of the step is done."""
        if self._tty:
            click.echo(f"\r\x1b[K{self._what} ... {done} of {total}", err=True, nl=False)

    def _end(self) -> None:
        if self._what:
            start = "\r\x1b[K" if self._tty else ""
            click.echo(f"{start}{self._what}: {time.monotonic() - self._began:.1f} s", err=True)
        self._what = ""


def _as_json(name: str, result: ConversionResult) -> dict[str, object]:
    return {
        "model": name,
        "precision": result.precision,
        "kept": result.kept is not None,
        "complaint": result.complaint,
        "calibration_pictures": len(result.images.calibrating),
        "damaged_pictures": result.images.damaged,
        "repeated_pictures": result.images.repeated,
        "comparison": result.comparison,
    }


def _show(name: str, result: ConversionResult) -> None:
    from rich.console import Console
    from rich.table import Table

    compared, images = result.comparison, result.images
    table = Table(box=None, pad_edge=False)
    table.add_column(f"{name}, {compared.threads} threads", no_wrap=True)
    for heading in ("float Session", f"LiteRT {result.precision}", "ratio"):
        table.add_column(heading, justify="right", no_wrap=True)
    for what, one, other, form in _rows(compared):
        ratio = f"{other / one:.2f}" if one else ""
        table.add_row(what, format(one, form), format(other, form), ratio)
    for what, value in _agreement(compared):
        table.add_row(what, "", value, "")
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    console.print(
        f"compared on {compared.images} images; {len(images.calibrating)} others calibrated it, "
        f"{images.damaged} were damaged, {images.repeated} were duplicates"
    )


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
        ("float Session's top-1 among the top 5", f"{compared.top5_agreement:.1%}"),
        ("largest score difference", f"{compared.largest_difference:.4f}"),
        ("median top-1 score difference", f"{compared.median_difference:.4f}"),
    ]

"""``incv3d send``: a ZeroMQ client for pictures from files."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from incv3d.cli.options import json_option

if TYPE_CHECKING:
    from incv3d.loadgen import Outcome, Shot


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "--connect", default="tcp://127.0.0.1:5555", show_default=True, help="Address of the daemon's door."
)
@click.option(
    "--repeat", type=click.IntRange(1), default=1, show_default=True, help="Send everything so many times."
)
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Pictures a second at most.")
@click.option(
    "--concurrency", type=click.IntRange(1, 1000), default=1, show_default=True, help="Under way at once."
)
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0, min_open=True), default=30.0, show_default=True
)
@click.option(
    "--ttl-ms", type=click.FloatRange(0, min_open=True), help="The daemon drops a frame older than this."
)
@click.option("--quiet", is_flag=True, help="Only the closing summary.")
@json_option
def send(
    paths: tuple[str, ...],
    connect: str,
    repeat: int,
    rate: float | None,
    concurrency: int,
    timeout_s: float,
    ttl_ms: float | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Send pictures (files, folders, patterns) to a running daemon and print their labels.

    Exit status 1 if any picture got no label.
    """
    import time

    from incv3d.client import Client
    from incv3d.loadgen import shoot
    from incv3d.sources.images import find_pictures

    pictures = [found for path in paths for found in find_pictures(path)]
    started = time.monotonic()
    outcomes: list[Outcome] = []
    try:
        with Client(connect, timeout_s) as client:
            client.ask("ping")
            progress = _Progress(len(pictures) * repeat, silent=quiet or as_json)
            for outcome in shoot(client, _shots(pictures, repeat), concurrency, rate, ttl_ms):
                outcomes.append(outcome)
                if not quiet and not as_json:
                    click.echo(_line(outcome))
                progress.advance()
            progress.stop()
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
    elapsed_s = time.monotonic() - started
    _summarise(outcomes, elapsed_s, as_json)
    sys.exit(0 if outcomes and all(outcome.kind == "ok" for outcome in outcomes) else 1)


class _Progress:
    """A progress bar on a terminal's stderr; elsewhere nothing but the lines themselves."""

    def __init__(self, total: int, silent: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        self._bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=silent or not sys.stderr.isatty() or total < 2,
        )
        self._task = self._bar.add_task("", total=total)
        self._bar.start()

    def advance(self) -> None:
        self._bar.advance(self._task)

    def stop(self) -> None:
        self._bar.stop()


def _shots(pictures: list[Path], repeat: int) -> Iterator[Shot]:
    from incv3d.loadgen import Shot
    from incv3d.sources.images import read_picture

    for _ in range(repeat):
        for picture in pictures:
            yield Shot(picture.name, read_picture(picture))


def _line(outcome: Outcome) -> str:
    answer = outcome.answer
    if answer is None:
        return f"{outcome.name}: no answer in time"
    if answer.status != "ok" or not answer.predictions:
        return f"{outcome.name}: {outcome.kind}: {answer.detail}"
    best = answer.predictions[0]
    return f"{outcome.name}: {best.label} {best.score:.5f} ({outcome.round_trip_ms:.0f} ms)"


def _summarise(outcomes: list[Outcome], elapsed_s: float, as_json: bool) -> None:
    from incv3d.latency import spread

    by_kind: dict[str, list[float]] = defaultdict(list)
    for outcome in outcomes:
        by_kind[outcome.kind].append(outcome.round_trip_ms)
    if as_json:
        import msgspec

        summary = {
            kind: {"count": len(values), "round_trip": spread(values)} for kind, values in by_kind.items()
        }
        click.echo(
            msgspec.json.encode(
                {"sent": len(outcomes), "elapsed_s": round(elapsed_s, 3), "outcomes": summary}
            )
        )
        return
    per_s = len(outcomes) / elapsed_s if elapsed_s else 0.0
    click.echo(f"{len(outcomes)} pictures in {elapsed_s:.1f} s, {per_s:.1f} a second")
    for kind, values in sorted(by_kind.items()):
        s = spread(values)
        if s:
            click.echo(
                f"  {kind}: {len(values)}; round trip best {s.best_ms:.1f}, p50 {s.p50_ms:.1f}, "
                f"p95 {s.p95_ms:.1f}, p99 {s.p99_ms:.1f}, worst {s.worst_ms:.1f} ms"
            )

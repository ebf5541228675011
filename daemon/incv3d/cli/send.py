"""``incv3d send``: pictures from files to a running daemon, one by one or as a load."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from incv3d.cli.options import connect_option_help, json_option, key_option

if TYPE_CHECKING:
    from incv3d.frames import Encoding
    from incv3d.tools.load.mqtt import MqttLoadSender
    from incv3d.tools.load.report import LoadReport
    from incv3d.tools.load.sender import LoadImage, Outcome, Plan
    from incv3d.tools.load.zeromq import ZmqLoadSender

OPEN_LOOP_LIMIT = 1000
KEPT_BYTES = 256 * 1024 * 1024
"""Pictures that are sent again are kept in memory up to so many bytes, so that no disk is measured."""
Positive = click.FloatRange(0, min_open=True)


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--connect", default="tcp://127.0.0.1:5555", show_default=True, help=connect_option_help)
@key_option
@click.option(
    "--mqtt",
    "broker",
    metavar="mqtt://[USER@]HOST[:PORT][/TOPIC]",
    help="Instead, to the daemons that share the frames of a broker (TOPIC: incv3d/frames/send); "
    "mqtts:// for TLS, the password in $INCV3D_MQTT_PASSWORD.",
)
@click.option("--repeat", type=click.IntRange(1), help="Send everything so many times.  [default: 1]")
@click.option(
    "--duration", "duration_s", type=Positive, help="Send for so many seconds, over and over unless --repeat."
)
@click.option(
    "--rate", type=Positive, help="Open loop: so many pictures a second, whether answers come or not."
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1000),
    help="Under way at once.  [default: one a connection; with --rate at most 1000]",
)
@click.option(
    "--connections", type=click.IntRange(1, 200), default=1, show_default=True, help="As so many senders."
)
@click.option(
    "--timeout", "timeout_s", type=Positive, default=30.0, show_default=True, help="Seconds for an answer."
)
@click.option(
    "--retries",
    type=click.IntRange(0, 100),
    help="Send a picture without an answer again so many times.  [default: 0; with --mqtt 3]",
)
@click.option(
    "--wait-if-busy", is_flag=True, help="Send again what was answered `busy`, within --timeout; --mqtt does."
)
@click.option("--ttl-ms", type=Positive, help="The daemon drops a frame older than this.")
@click.option(
    "--raw", type=click.Choice(["bgr24", "rgb24", "gray8"]), help="Decode here and send pixels like this."
)
@click.option("--quiet", is_flag=True, help="Only the closing summary.")
@json_option
def send(
    paths: tuple[str, ...],
    connect: str,
    key: str | None,
    broker: str | None,
    repeat: int | None,
    duration_s: float | None,
    rate: float | None,
    concurrency: int | None,
    connections: int,
    timeout_s: float,
    retries: int | None,
    wait_if_busy: bool,
    ttl_ms: float | None,
    raw: Encoding | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Send pictures (files, folders, patterns) to a running daemon and print their labels.

    Without --rate a new picture goes out when an answer came in (closed loop). With --rate each is due on a
    schedule and its round trip counts from then, so that a daemon that falls behind cannot hide it; what
    cannot be sent when it is due, because too many are under way, is not sent at all and counted.

    A percentile is shown when at least one sample lies beyond it. Printing takes time: measure with --quiet.

    Exit status 0 if every picture got a label, 130 after Ctrl-C (with the summary of what was done), else 1.
    """
    from incv3d.client import NoEntry
    from incv3d.sources.image_files import find_images
    from incv3d.tools.load.report import LoadStatistics
    from incv3d.tools.load.sender import Plan

    if concurrency and not rate and concurrency < connections:
        raise click.UsageError(f"--concurrency {concurrency} cannot keep {connections} connections busy")
    if broker and connections > 1:
        raise click.UsageError("--connections: a broker needs one only; see --concurrency")
    plan = Plan(
        connections=connections,
        limit=concurrency or (OPEN_LOOP_LIMIT if rate else connections),
        rate=rate,
        duration_s=duration_s,
        timeout_s=timeout_s,
        retries=(3 if broker else 0) if retries is None else retries,
        wait_if_busy=wait_if_busy or bool(broker),
        ttl_ms=ttl_ms,
    )
    pictures = [found for path in paths for found in find_images(path)]
    rounds = repeat or (None if duration_s else 1)
    shots = _shots(pictures, rounds, raw)
    tally = LoadStatistics()
    stopped = False
    turned_away: NoEntry | None = None
    with _generator(connect, key, broker, plan) as generator:
        generator.connect()
        progress = _Progress(plan, rounds and rounds * len(pictures), silent=quiet or as_json)
        started = time.monotonic()
        try:
            for outcome in generator.shoot(shots):
                tally.add(outcome)
                if not quiet and not as_json:
                    click.echo(_line(outcome))
                progress.advance()
        except KeyboardInterrupt:
            stopped = True
        except NoEntry as error:
            turned_away = error
        finally:
            elapsed_s = time.monotonic() - started
            progress.stop()
        report = tally.report(elapsed_s, generator.under_way, generator.duplicates)
    _summarise(report, as_json)
    if turned_away:
        raise turned_away
    sys.exit(130 if stopped else 0 if tally.all_ok else 1)


def _generator(
    connect: str, key: str | None, broker: str | None, plan: Plan
) -> ZmqLoadSender | MqttLoadSender:
    if broker:
        from incv3d.transports.mqtt.errors import need_library

        need_library("--mqtt")
        from incv3d.tools.load.mqtt import MqttLoadSender

        return MqttLoadSender(broker, plan, os.environ)
    from incv3d.client import Client
    from incv3d.protocol.curve_keys import read_client_key
    from incv3d.tools.load.zeromq import ZmqLoadSender

    with Client(connect, plan.timeout_s, key=key) as client:
        client.ask("ping")
    return ZmqLoadSender(connect, plan, read_client_key(key) if key else None)


class _Progress:
    """A progress bar on a terminal's stderr; elsewhere nothing but the lines themselves.

    :param total: pictures; None: the bar shows how much of the duration is over.
    """

    def __init__(self, plan: Plan, total: int | None, silent: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            BarColumn(),
            TextColumn("{task.fields[done]} pictures"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=silent or not sys.stderr.isatty() or total == 1,
        )
        self._total = total
        self._done = 0
        self._started = time.monotonic()
        self._task = self._bar.add_task("", total=total or plan.duration_s, done=0)
        self._bar.start()

    def advance(self) -> None:
        if self._bar.disable:
            return
        self._done += 1
        completed = self._done if self._total else time.monotonic() - self._started
        self._bar.update(self._task, completed=completed, done=self._done)

    def stop(self) -> None:
        self._bar.stop()


def _shots(pictures: list[Path], rounds: int | None, raw: Encoding | None) -> Iterator[LoadImage]:
    """The pictures, `rounds` times or (None) for ever."""
    from incv3d.sources.image_files import read_image

    kept: dict[Path, LoadImage] = {}
    kept_bytes = 0
    done = 0
    while rounds is None or done < rounds:
        for picture in pictures:
            shot = kept.get(picture) or _shot(picture.name, read_image(picture), raw)
            if rounds != 1 and picture not in kept and kept_bytes + len(shot.data) <= KEPT_BYTES:
                kept[picture] = shot
                kept_bytes += len(shot.data)
            yield shot
        done += 1


def _shot(name: str, data: bytes, raw: Encoding | None) -> LoadImage:
    from incv3d.tools.load.sender import LoadImage

    if raw is None:
        return LoadImage(name, data)
    import io

    from PIL import Image

    from incv3d.sources.base import SourceError

    try:
        picture = Image.open(io.BytesIO(data)).convert("L" if raw == "gray8" else "RGB")
    except (OSError, Image.DecompressionBombError) as error:
        raise SourceError(f"{name}: cannot be decoded here: {error}") from None
    pixels = picture.tobytes("raw", "BGR") if raw == "bgr24" else picture.tobytes()
    return LoadImage(name, pixels, raw, picture.width, picture.height)


def _line(outcome: Outcome) -> str:
    answer = outcome.answer
    if answer is None:
        return f"{outcome.name}: {'not sent' if outcome.lost_slot else 'no answer in time'}"
    if answer.status != "ok" or not answer.predictions:
        return f"{outcome.name}: {outcome.kind}: {answer.detail}"
    best = answer.predictions[0]
    return f"{outcome.name}: {best.label} {best.score:.5f} ({outcome.round_trip_ms:.0f} ms)"


def _summarise(report: LoadReport, as_json: bool) -> None:
    from incv3d.tools.load.report import describe

    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(report))
    else:
        click.echo("\n".join(describe(report)))

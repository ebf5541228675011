"""``incv3d send``: send images from files to a running daemon, one by one or as a load test."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import click

from incv3d.cli.options import connect_option_help, json_option, key_option

if TYPE_CHECKING:
    from incv3d.frames import Encoding
    from incv3d.tools.load.mqtt import MqttLoadSender
    from incv3d.tools.load.report import LoadReport
    from incv3d.tools.load.sender import LoadImage, Plan, SendResult
    from incv3d.tools.load.zeromq import ZmqLoadSender

OPEN_LOOP_LIMIT = 1000
KEPT_BYTES = 256 * 1024 * 1024
"""Images that are sent repeatedly are kept in memory up to this total, so that the disk is not measured."""
Positive = click.FloatRange(0, min_open=True)


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "--connect",
    metavar="ADDRESS",
    default="tcp://127.0.0.1:5555",
    show_default=True,
    help=connect_option_help,
)
@key_option
@click.option(
    "--mqtt",
    "broker",
    metavar="mqtt://[USER@]HOST[:PORT][/TOPIC]",
    help="Send over an MQTT broker instead, to the daemons that share its frames (default TOPIC: "
    "incv3d/frames/send). mqtts:// for TLS; password in $INCV3D_MQTT_PASSWORD.",
)
@click.option("--repeat", type=click.IntRange(1), help="Number of times to send each image.  [default: 1]")
@click.option(
    "--duration",
    "duration_s",
    type=Positive,
    help="Stop sending after this many seconds; repeats the images unless --repeat is given.",
)
@click.option("--rate", type=Positive, help="Open loop: images per second, regardless of answers.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1000),
    help="Maximum images in flight.  [default: one per connection; with --rate 1000]",
)
@click.option(
    "--connections", type=click.IntRange(1, 200), default=1, show_default=True, help="Connections to open."
)
@click.option(
    "--timeout",
    "timeout_s",
    type=Positive,
    default=30.0,
    show_default=True,
    help="Seconds to wait for each answer.",
)
@click.option(
    "--retries",
    type=click.IntRange(0, 100),
    help="Number of times to resend an unanswered image.  [default: 0; with --mqtt 3]",
)
@click.option(
    "--wait-if-busy",
    is_flag=True,
    help="Resend images answered `busy`, within --timeout; always on with --mqtt.",
)
@click.option("--ttl-ms", type=Positive, help="Maximum age of a frame; the daemon drops older ones.")
@click.option(
    "--raw",
    type=click.Choice(["bgr24", "rgb24", "gray8"]),
    help="Decode the images here and send pixels in this format.",
)
@click.option("--quiet", is_flag=True, help="Print the summary only.")
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
    """Send image files, folders or patterns to a running daemon and print the labels.

    Without --rate, each answer triggers the next image (closed loop). With --rate, images are sent on a
    schedule and round trips count from the scheduled time, so that a daemon that falls behind cannot hide
    it (open loop). An image that is due while too many are in flight is counted as not sent.

    A percentile is shown if at least one sample lies beyond it. Printing takes time: use --quiet to measure.

    Exit status: 0 if every image got a label, 130 after Ctrl-C (the summary is still printed), otherwise 1.
    """
    if concurrency and not rate and concurrency < connections:
        raise click.UsageError(
            f"--concurrency {concurrency} is less than --connections {connections}: some would stay idle"
        )
    if broker and connections > 1:
        raise click.UsageError(
            "--connections cannot be used with --mqtt, which needs only one; use --concurrency"
        )
    from incv3d.sources.image_files import find_images
    from incv3d.tools.load.sender import Plan

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
    files = [found for path in paths for found in find_images(path)]
    rounds = repeat or (None if duration_s else 1)
    progress = _Progress(plan, rounds and rounds * len(files), is_silent=quiet or as_json)
    with _open_sender(connect, key, broker, plan) as sender:
        sender.connect()
        status = _send_all(sender, _load_images(files, rounds, raw), progress, quiet, as_json)
    sys.exit(status)


def _send_all(
    sender: ZmqLoadSender | MqttLoadSender,
    images: Iterator[LoadImage],
    progress: _Progress,
    quiet: bool,
    as_json: bool,
) -> int:
    """Send the images and print the summary; return the exit status.

    :raises NoEntry: after the summary, if the daemon rejected a connection.
    """
    from incv3d.client import NoEntry
    from incv3d.tools.load.report import LoadStatistics

    statistics = LoadStatistics()
    is_interrupted = False
    rejected: NoEntry | None = None
    started = time.monotonic()
    try:
        with progress:
            for result in sender.send_all(images):
                statistics.add(result)
                if not quiet and not as_json:
                    click.echo(_line(result))
                progress.advance()
    except KeyboardInterrupt:
        is_interrupted = True
    except NoEntry as error:
        rejected = error
    elapsed_s = time.monotonic() - started
    _summarize(statistics.report(elapsed_s, sender.in_flight, sender.duplicates), as_json)
    if rejected:
        raise rejected
    return 130 if is_interrupted else 0 if statistics.all_ok else 1


def _open_sender(
    connect: str, key: str | None, broker: str | None, plan: Plan
) -> ZmqLoadSender | MqttLoadSender:
    if broker:
        from incv3d.transports.mqtt.transport import MqttTransport

        MqttTransport.require_libraries("--mqtt")
        from incv3d.tools.load.mqtt import MqttLoadSender

        return MqttLoadSender(broker, plan, os.environ)
    from incv3d.client import Client
    from incv3d.protocol.curve_keys import read_client_key
    from incv3d.tools.load.zeromq import ZmqLoadSender

    with Client(connect, plan.timeout_s, key=key) as client:
        client.ask("ping")
    return ZmqLoadSender(connect, plan, read_client_key(key) if key else None)


class _Progress:
    """Shows a progress bar if standard error is a terminal.

    :param total: number of images; None: the bar shows how much of the duration has passed.
    """

    def __init__(self, plan: Plan, total: int | None, is_silent: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            BarColumn(),
            TextColumn("{task.fields[done]} images"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=is_silent or not sys.stderr.isatty() or total == 1,
        )
        self._total = total
        self._done = 0
        self._started = time.monotonic()
        self._task = self._bar.add_task("", total=total or plan.duration_s, done=0)

    def __enter__(self) -> None:
        self._started = time.monotonic()
        self._bar.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self) -> None:
        if self._bar.disable:
            return
        self._done += 1
        completed = self._done if self._total else time.monotonic() - self._started
        self._bar.update(self._task, completed=completed, done=self._done)


def _load_images(files: list[Path], rounds: int | None, raw: Encoding | None) -> Iterator[LoadImage]:
    """Yield the images `rounds` times; forever if `rounds` is None."""
    from incv3d.sources.image_files import read_image

    kept: dict[Path, LoadImage] = {}
    kept_bytes = 0
    done = 0
    while rounds is None or done < rounds:
        for file in files:
            image = kept.get(file) or _load_image(file.name, read_image(file), raw)
            if rounds != 1 and file not in kept and kept_bytes + len(image.data) <= KEPT_BYTES:
                kept[file] = image
                kept_bytes += len(image.data)
            yield image
        done += 1


def _load_image(name: str, data: bytes, raw: Encoding | None) -> LoadImage:
    from incv3d.tools.load.sender import LoadImage

    if raw is None:
        return LoadImage(name, data)
    import io

    from PIL import Image, UnidentifiedImageError

    from incv3d.sources.base import SourceError

    try:
        decoded = Image.open(io.BytesIO(data)).convert("L" if raw == "gray8" else "RGB")
    except UnidentifiedImageError:
        raise SourceError(f"{name}: cannot be decoded for --raw: unknown image format") from None
    except (OSError, Image.DecompressionBombError) as error:
        raise SourceError(f"{name}: cannot be decoded for --raw: {error}") from None
    pixels = decoded.tobytes("raw", "BGR") if raw == "bgr24" else decoded.tobytes()
    return LoadImage(name, pixels, raw, decoded.width, decoded.height)


def _line(result: SendResult) -> str:
    answer = result.answer
    if answer is None:
        return f"{result.name}: {'not sent' if result.lost_slot else 'no answer in time'}"
    if answer.status != "ok" or not answer.predictions:
        return f"{result.name}: {result.kind}: {answer.detail}"
    best = answer.predictions[0]
    return f"{result.name}: {best.label} {best.score:.5f} ({result.round_trip_ms:.0f} ms)"


def _summarize(report: LoadReport, as_json: bool) -> None:
    from incv3d.tools.load.report import describe

    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(report))
    else:
        click.echo("\n".join(describe(report)))

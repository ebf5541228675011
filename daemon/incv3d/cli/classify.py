"""``incv3d classify``: label images."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

import click

from incv3d.cli.options import config_option, json_option, key_option, session_options

if TYPE_CHECKING:
    from incv3d.client import Client
    from incv3d.frames import Prediction

    Classify = Callable[[bytes], tuple[Prediction, ...]]


@click.command()
@click.argument("pictures", metavar="IMAGE...", nargs=-1, required=True)
@config_option
@session_options
@click.option("--top-k", type=click.IntRange(1, 1000), help="Predictions per image.")
@click.option("--connect", metavar="ADDRESS", help="Ask a running daemon instead of opening a Session.")
@key_option
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    show_default=True,
    help="Seconds to wait for each answer; with --connect.",
)
@json_option
def classify(
    pictures: tuple[str, ...],
    config_path: str | None,
    model_name: str | None,
    threads: int | None,
    top_k: int | None,
    connect: str | None,
    key: str | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Label each IMAGE: a file, a folder, a pattern, or - for standard input.

    Exit status 1 if any image got no label.
    """
    overrides = {"model.name": model_name, "session.threads": threads, "model.top_k": top_k}
    named = list(_read(pictures))
    if connect is not None:
        with _connect(connect, timeout_s, key) as client:
            failed = _classify(named, _remote(client, top_k), as_json)
    else:
        failed = _classify(named, _local(config_path, overrides), as_json)
    if failed:
        sys.exit(1)


def _classify(named: list[tuple[str, Callable[[], bytes]]], ask: Classify, as_json: bool) -> bool:
    from incv3d.client.connection import NoAnswer, NoEntry
    from incv3d.errors import Incv3dError

    failed = False
    for name, read in named:
        try:
            predictions = ask(read())
        except (NoAnswer, NoEntry):
            # The images that follow would fail too: end the command here, with one line.
            raise
        except Incv3dError as error:
            failed = True
            _show_error(name, str(error), as_json)
        else:
            _show(name, predictions, as_json)
    return failed


def _read(pictures: tuple[str, ...]) -> Iterator[tuple[str, Callable[[], bytes]]]:
    from incv3d.sources.image_files import find_images, read_image

    for picture in pictures:
        if picture == "-":
            yield picture, sys.stdin.buffer.read
        else:
            for path in find_images(picture):
                yield str(path), partial(read_image, path)


def _connect(address: str, timeout_s: float, key: str | None) -> Client:
    from incv3d.client import Client

    return Client(address, timeout_s, retries=1, wait_if_busy=True, key=key)


def _remote(client: Client, top_k: int | None) -> Classify:
    from incv3d.client.connection import ClientError, NoAnswer

    def ask(data: bytes) -> tuple[Prediction, ...]:
        try:
            return tuple(client.classify(data, top_k=top_k).predictions or ())
        except NoAnswer as error:
            # Either this image is too large, which closes the connection, or the daemon is gone.
            client.ask("ping")
            raise ClientError(str(error)) from None

    return ask


def _local(config_path: str | None, overrides: Mapping[str, object]) -> Classify:
    import time

    from incv3d.config.loading import load_config
    from incv3d.config.paths import state_directory
    from incv3d.frames import Frame
    from incv3d.pipeline.loader import load_classifier, open_store

    config = load_config(config_path, overrides=overrides).config
    store = open_store(config, state_directory(os.environ))
    classifier = load_classifier(config, store, warmup_runs=0, progress=_to_stderr).classifier

    def ask(data: bytes) -> tuple[Prediction, ...]:
        now = time.monotonic()
        frame = Frame("command line", data, None, received=now, captured=now)
        return classifier.classify(classifier.prepare(frame)).predictions

    return ask


def _to_stderr(line: str) -> None:
    if sys.stderr.isatty():
        click.echo(line, err=True)


def _show(name: str, predictions: tuple[Prediction, ...], as_json: bool) -> None:
    if as_json:
        import msgspec

        from incv3d.sources.image_files import shown_name

        click.echo(msgspec.json.encode({"picture": shown_name(name), "predictions": predictions}))
        return
    click.echo(name)
    for prediction in predictions:
        click.echo(f"  {prediction.score:8.5f}  {prediction.label}  {prediction.synset}".rstrip())


def _show_error(name: str, error: str, as_json: bool) -> None:
    if as_json:
        import msgspec

        from incv3d.sources.image_files import shown_name

        click.echo(msgspec.json.encode({"picture": shown_name(name), "error": error}))
    else:
        click.echo(f"{name}: {error}", err=True)

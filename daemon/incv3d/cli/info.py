"""``incv3d info``: show versions, as the libraries report them."""

from __future__ import annotations

import platform
from importlib.util import find_spec

import click

from incv3d import __version__
from incv3d.cli.options import json_option, key_option

NOT_INSTALLED = "not installed"


@click.command()
@click.option("--connect", metavar="ADDRESS", help="Ask a running daemon instead of this machine.")
@key_option
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    help="Seconds to wait for the answer; with --connect.",
)
@json_option
def info(connect: str | None, key: str | None, timeout_s: float, as_json: bool) -> None:
    """Show the versions of incv3d, its libraries and engines, and TensorFlow's devices."""
    import msgspec

    facts = _look() if connect is None else _ask(connect, timeout_s, key)
    if as_json:
        click.echo(msgspec.json.encode(facts))
    else:
        click.echo(msgspec.yaml.encode(facts).decode().rstrip())


def _ask(address: str, timeout_s: float, key: str | None) -> dict[str, object]:
    from incv3d.client import Client

    with Client(address, timeout_s, key=key) as client:
        return client.ask("info")


def _look() -> dict[str, object]:
    import numpy
    import zmq

    from incv3d.engines.capi import Graph, GraphSession, Library, LibraryMissing
    from incv3d.engines.quiet_stderr import quiet_stderr

    facts: dict[str, object] = {
        "incv3d": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "numpy": numpy.__version__,
        "zeromq": zmq.zmq_version(),
    }
    try:
        with quiet_stderr():
            library = Library()
            with Graph(library, b"") as graph, GraphSession(library, graph) as session:
                facts["tensorflow"] = library.version
                facts["devices"] = [name for name, _ in session.devices()]
    except LibraryMissing as error:
        facts["tensorflow"] = f"cannot be used: {error}" if find_spec("tensorflow") else NOT_INSTALLED
    facts["litert"] = _version("ai-edge-litert")
    facts["onnxruntime"] = _version("onnxruntime")
    return facts


def _version(distribution: str) -> str:
    """Return the version of an installed distribution, whose library is not loaded."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return NOT_INSTALLED

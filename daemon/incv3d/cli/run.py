"""``incv3d run``: the daemon in the foreground."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import sys
import threading
from collections.abc import Iterator
from typing import NoReturn

import click

from incv3d.app.journal import JournalFormatter, is_journal, set_level
from incv3d.cli.options import config_option, session_options, source_keys, source_option


@click.command()
@config_option
@session_options
@click.option("--warmup-runs", type=int, help="At most so many runs before the daemon is ready.")
@click.option("--bind", metavar="ADDRESS", help="Where requests arrive.")
@click.option("--publish", metavar="ADDRESS", help="Where results are published; '' for nowhere.")
@click.option("--http", metavar="ADDRESS", help="Where the page is, and metrics: 127.0.0.1:8080.")
@click.option("--latency-log", metavar="FILE", help="The latency log.")
@source_option
@click.option("--demo", is_flag=True, help="With no source configured, replay a few bundled photographs.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]))
def run(
    config_path: str | None,
    model_name: str | None,
    threads: int | None,
    warmup_runs: int | None,
    bind: str | None,
    publish: str | None,
    http: str | None,
    latency_log: str | None,
    source_path: str | None,
    demo: bool,
    log_level: str | None,
) -> None:
    """Warm the Session and serve: frames from ZeroMQ and the configured source.

    Ctrl-C or SIGTERM ends it cleanly, a second Ctrl-C at once. SIGHUP reopens the
    latency log, reads the clients' keys again and has the configuration read again: what
    it can it takes, the rest it says.
    """
    from incv3d.machine import limit_malloc_arenas

    limit_malloc_arenas()
    from incv3d.app.prerequisites import check
    from incv3d.config.loading import ConfigError, LoadedConfig, load_config
    from incv3d.engines.tensorflow_ahead import tensorflow_ahead
    from incv3d.errors import Incv3dError
    from incv3d.transports.zeromq.access import insecure_warning, required_keys

    overrides = {
        "model.name": model_name,
        "session.threads": threads,
        "session.warmup_runs": warmup_runs,
        "intake.bind": bind,
        "intake.publish": publish,
        "http.bind": http,
        "latency.log": latency_log,
        "daemon.log_level": log_level,
        **source_keys(source_path),
    }

    def read() -> LoadedConfig:
        loaded = load_config(config_path, overrides=overrides)
        if demo and loaded.config.source.type == "none":
            from incv3d.images.demo import demo_folder

            demo_source = {"source.type": "images", "source.path": str(demo_folder()), "source.name": "demo"}
            loaded = load_config(config_path, overrides=overrides | demo_source)
        return loaded

    loaded = read()
    config = loaded.config
    set_up_logging(config.daemon.log_level)
    with warnings_withheld():  # what is used says them itself
        check(loaded, os.environ)
    keys = required_keys(loaded, os.environ)

    def reread() -> LoadedConfig:
        found = read()
        if found.path != loaded.path:
            raise ConfigError(f"the configuration was {loaded.origin}, and is now {found.origin}")
        check(found, os.environ)
        return found

    logging.getLogger("incv3d").info("configuration: %s", loaded.origin)
    if warning := insecure_warning(config.intake):
        logging.getLogger("incv3d").warning("%s", warning)
    from incv3d.app.systemd import SystemdNotifier
    from incv3d.config.paths import latency_log_path, state_directory
    from incv3d.pipeline.configured_model import runs_prepared_graph
    from incv3d.pipeline.loader import open_store

    store = open_store(config, state_directory(os.environ))
    log_path = latency_log_path(config.latency.log, os.environ)
    notifier = SystemdNotifier(os.environ)
    with tensorflow_ahead() if runs_prepared_graph(config, store) else contextlib.nullcontext():
        from incv3d.app.daemon import Daemon
    try:
        status = Daemon(config, store, log_path, notifier, reread, keys=keys).run()
    except Incv3dError as error:
        if error.is_lasting:  # with a status for which systemd does not try again
            raise ConfigError(str(error)) from None
        raise
    leave(status)


@contextlib.contextmanager
def warnings_withheld() -> Iterator[None]:
    """Log nothing below an error in the block."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def leave(status: int) -> NoReturn:
    """End the process with `status`, whatever its threads are at."""
    logging.shutdown()
    sys.stdout.flush()
    if threading.active_count() > 1:
        # A thread still sits inside a library call; waiting for it could take for ever.
        os._exit(status)
    sys.exit(status)


def set_up_logging(level: str) -> None:
    """Log to standard error, one line an entry; to the journal with the level that it sorts by."""
    # A descriptor of its own: file descriptor 2 itself is silenced while a library loads.
    stream = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="replace")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        JournalFormatter()
        if is_journal(stream.fileno(), os.environ)
        else logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")
    )
    logging.basicConfig(handlers=[handler])
    set_level(level)
    # Killed by SIGABRT, as systemd does it to a daemon that hangs, it says what its threads were at.
    faulthandler.enable(stream)

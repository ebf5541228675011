"""``incv3d run``: run the daemon in the foreground."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NoReturn

import click

from incv3d.app.journal import set_up_logging
from incv3d.cli.options import config_option, session_options, source_keys, source_option
from incv3d.cli.output import leave

if TYPE_CHECKING:
    from incv3d.config.loading import LoadedConfig


@click.command()
@config_option
@session_options
@click.option("--warmup-runs", type=int, help="Maximum number of runs before the daemon is ready.")
@click.option("--bind", metavar="ADDRESS", help="Address for requests.")
@click.option("--publish", metavar="ADDRESS", help="Address for published results; '' to publish none.")
@click.option("--http", metavar="ADDRESS", help="Address of the web UI and metrics, such as 127.0.0.1:8080.")
@click.option("--latency-log", metavar="FILE", help="Where to write the latency log.")
@source_option
@click.option("--demo", is_flag=True, help="Replay a few bundled photographs if no source is configured.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="Minimum severity of log messages.",
)
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
    """Warm the Session, then classify frames from clients and the configured source.

    Ctrl-C or SIGTERM stops the daemon cleanly; a second Ctrl-C stops it at once. SIGHUP reopens
    the latency log and reloads the clients' keys and the configuration; the log lists changes
    that need a restart.
    """
    from incv3d.machine import limit_malloc_arenas

    limit_malloc_arenas()

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
    _serve(config_path, overrides, demo)


def _serve(config_path: str | None, overrides: Mapping[str, object], demo: bool) -> NoReturn:
    from incv3d.app.prerequisites import check
    from incv3d.config.loading import ConfigError
    from incv3d.engines.tensorflow_ahead import tensorflow_ahead

    loaded = _load(config_path, overrides, demo)
    config = loaded.config
    set_up_logging(config.daemon.log_level)
    with warnings_withheld():  # the parts that use a setting log the warnings themselves
        check(loaded, os.environ)

    def reread() -> LoadedConfig:
        found = _load(config_path, overrides, demo)
        if found.path != loaded.path:
            raise ConfigError(f"the configuration was {loaded.origin}, and is now {found.origin}")
        check(found, os.environ)
        return found

    logging.getLogger("incv3d").info("configuration: %s", loaded.origin)
    from incv3d.app.systemd import SystemdNotifier
    from incv3d.config.paths import latency_log_path, state_directory
    from incv3d.pipeline.configured_model import runs_prepared_graph
    from incv3d.pipeline.loader import open_store

    store = open_store(config, state_directory(os.environ))
    log_path = latency_log_path(config.latency.log, os.environ)
    notifier = SystemdNotifier(os.environ)
    with tensorflow_ahead() if runs_prepared_graph(config, store) else contextlib.nullcontext():
        from incv3d.app.daemon import Daemon
    leave(Daemon(loaded, store, log_path, notifier, reread).run())


def _load(config_path: str | None, overrides: Mapping[str, object], demo: bool) -> LoadedConfig:
    from incv3d.config.loading import load_config

    loaded = load_config(config_path, overrides=overrides)
    if demo and not loaded.config.all_sources:
        from incv3d.images.demo import demo_folder

        demo_source: dict[str, object] = {
            "source.type": "images",
            "source.path": str(demo_folder()),
            "source.name": "demo",
        }
        if loaded.config.session.tune == "auto":
            demo_source["session.tune"] = False  # four photographs are too few
        loaded = load_config(config_path, overrides={**overrides, **demo_source})
    return loaded


@contextlib.contextmanager
def warnings_withheld() -> Iterator[None]:
    """Log errors only while the block runs."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)

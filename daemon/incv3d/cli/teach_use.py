"""Let the daemon use a taught model: in its configuration, and at once if it runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from incv3d.config.loading import SYSTEM_FILE, ConfigError, LoadedConfig, load_config
from incv3d.teaching import CALLER_TELLS

if TYPE_CHECKING:
    from incv3d.models.taught.store import TaughtStore
    from incv3d.tools.running_daemon import RunningDaemon


@dataclass(frozen=True, slots=True)
class ToUse:
    """The configuration that ``--use`` will change."""

    loaded: LoadedConfig
    belongs_to_service: bool
    """Whether root changes what belongs to the service, whose user must teach."""

    def run_as_owner(self, words: list[str]) -> int:
        """Run ``incv3d teach`` with these words in a child, which becomes the service's user.

        :returns: its exit status.
        """
        from incv3d.child_process import start_python

        child = start_python(["-m", "incv3d", "teach", *words], {CALLER_TELLS: "1"})
        try:
            return child.wait()
        except KeyboardInterrupt:
            child.wait()  # which has got it, too, and says what is kept
            raise


def check_use(config_path: str | None) -> ToUse:
    """Return what ``--use`` will change, before anything takes long.

    :raises ConfigError: this user must not change it, or something else overrides it.
    """
    loaded = load_config(config_path)
    if (place := loaded.places.get("model.name", "")).startswith("$"):
        raise ConfigError(f"--use: {place} overrides `model.name` of {loaded.origin}; unset it")
    if loaded.path is None:
        return ToUse(loaded, belongs_to_service=False)
    target = loaded.path.resolve()
    if not (os.access(target, os.W_OK) and os.access(target.parent, os.W_OK)):
        raise ConfigError(f"{loaded.path}: this user cannot change it for --use; run the command with sudo")
    return ToUse(loaded, os.geteuid() == 0 and target == SYSTEM_FILE.resolve())


def use(taught: TaughtStore, loaded: LoadedConfig, name: str, key: str | None) -> None:
    """Set ``model.name`` to `name`, and let the running daemon take it over.

    Without a configuration file, ``auto`` means `name` from then on.

    :raises Incv3dError: the file cannot be changed, or the daemon does not take it over.
    """
    from incv3d.config.edit import set_key
    from incv3d.tools.running_daemon import find_daemon

    if loaded.path is None:
        taught.select(name)
        click.echo(f"{loaded.origin}: model.name is auto, which means {name} now")
    else:
        changed = set_key(loaded.path, "model.name", name)
        click.echo(f"{loaded.path}: model.name is {'now ' if changed else ''}{name}")
    daemon = find_daemon(loaded, key)
    if daemon is None:
        click.echo("no daemon runs with this configuration; the next one to start uses it")
        return
    _tell(loaded, daemon, name, key)


def tell_if_it_serves(loaded: LoadedConfig, name: str, key: str | None) -> bool:
    """Let the running daemon take over what changed of `name`, if it classifies with it.

    :returns: whether it does.
    :raises Incv3dError: it does not take it over.
    """
    from incv3d.tools.running_daemon import find_daemon

    daemon = find_daemon(loaded, key)
    if daemon is None:
        return loaded.config.model.name == name
    if name in daemon.models or (not daemon.answers and loaded.config.model.name == name):
        _tell(loaded, daemon, name, key)
        return True
    return False


def _tell(loaded: LoadedConfig, daemon: RunningDaemon, name: str, key: str | None) -> None:
    from incv3d.tools.running_daemon import ReloadFailed, reload_daemon

    now = reload_daemon(loaded, daemon, key)
    if name not in now.models:
        serves = ", ".join(sorted(now.models)) or "no model yet"
        raise ReloadFailed(
            f"the running daemon still serves {serves}: it was started with another configuration or with "
            f"--model; start it again"
        )
    click.echo(f"the running daemon serves {name} now")

"""Find the teaching set that a teaching command means."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from incv3d.cli.model_options import become_owner

if TYPE_CHECKING:
    from incv3d.config.loading import LoadedConfig
    from incv3d.models.store import ModelStore
    from incv3d.models.taught.store import TaughtStore
    from incv3d.teaching.picture_set import PictureSet

name_option = click.option("--name", metavar="NAME", help="The taught model, if there are several.")


@dataclass(frozen=True, slots=True)
class Teaching:
    """What the teaching commands work with."""

    loaded: LoadedConfig
    models: ModelStore
    taught: TaughtStore

    def names(self) -> list[str]:
        """Return the names of all teaching sets, whether a model was taught already or not."""
        return self.taught.begun()

    def pictures(self, name: str) -> PictureSet:
        """Return the own pictures of the teaching set `name`."""
        from incv3d.teaching.picture_set import PictureSet

        return PictureSet(self.taught.folder(name) / "pictures")

    def find_name(self, given: str | None, how: str = "add --name NAME") -> str:
        """Return the name of the set that a command means: the given, the configured, or the only one.

        :param how: how to give it, for the error.
        :raises click.UsageError: that is not clear.
        """
        names = self.names()
        if given or self.loaded.config.model.name in names:
            return given or self.loaded.config.model.name
        if len(names) == 1:
            return names[0]
        there = f"there are {', '.join(names)}" if names else "there is none yet; choose one"
        raise click.UsageError(f"which model? {how} ({there})")


def open_teaching(config_path: str | None, *readable: str | None, changes: bool = True) -> Teaching:
    """Return what is configured. Root becomes the service's user to change what belongs to the service.

    :param readable: files that this user must be able to read.
    :param changes: whether the command changes anything.
    :raises ConfigError: the configuration cannot be used.
    :raises ModelError: the service's user cannot read a file that root can.
    """
    from incv3d.config.loading import load_config
    from incv3d.config.paths import state_directory
    from incv3d.models.taught.store import TaughtStore
    from incv3d.pipeline.loader import open_store

    if changes:
        become_owner(config_path, *readable)
    loaded = load_config(config_path)
    store = open_store(loaded.config, state_directory(os.environ))
    return Teaching(loaded, store, TaughtStore(store.root))

"""Open the configured model store, for the model commands."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from incv3d.models.store import ModelStore


def configured_store(config_path: str | None) -> ModelStore:
    """Return the model store that is configured at `config_path`.

    :raises ConfigError: when the configuration cannot be used.
    """
    from incv3d.config.loading import load_config
    from incv3d.config.paths import state_directory
    from incv3d.pipeline.loader import open_store

    return open_store(load_config(config_path).config, state_directory(os.environ))


def configured_engine(config_path: str | None) -> str:
    """Return the engine that is configured at `config_path`.

    :raises ConfigError: when the configuration cannot be used.
    """
    from incv3d.config.loading import load_config

    return load_config(config_path).config.session.engine


def store_to_change(config_path: str | None, *readable: str | None) -> ModelStore:
    """Return the store, to change it. Root becomes the service's user to change the service's store.

    :param readable: files that this user must be able to read.
    :raises ConfigError: when the configuration cannot be used.
    :raises ModelError: the service's user cannot read a file that root can.
    """
    become_owner(config_path, *readable)
    return configured_store(config_path)


def become_owner(config_path: str | None, *readable: str | None) -> None:
    """Become the service's user if root is about to change the models of the service.

    :raises ModelError: the service's user cannot read a file of `readable` that root can.
    """
    from incv3d.models.entry import ModelError
    from incv3d.tools.doctor.service_user import become_service_user

    there = [each for each in readable if each and os.access(each, os.R_OK, effective_ids=True)]
    user = become_service_user(config_path, os.environ)
    for each in there:
        if not os.access(each, os.R_OK, effective_ids=True):
            raise ModelError(
                f"{each}: the service's user `{user}`, who owns these models, cannot read this file: copy it "
                f"to a place where it can, such as /tmp with mode 644, and use the copy"
            )


def how_to_get(name: str) -> str:
    """Say in a few words how to get the known model `name`."""
    from incv3d.models.resolve import EMBEDDED

    if name == EMBEDDED:
        return "included; built on first use"
    return f"not in the store: incv3d model fetch {name}"

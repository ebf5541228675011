"""Locations of models, logs and keys."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path


def state_directory(environ: Mapping[str, str], prefix: str = sys.prefix) -> Path:
    """Return the folder for models.

    The first of: ``$STATE_DIRECTORY`` (systemd sets it), ``.incv3d/`` of the checkout that the running
    environment `prefix` belongs to, the user's data directory.
    """
    if environ.get("STATE_DIRECTORY"):
        # systemd separates several directories with colons; the first is the service's own.
        return Path(environ["STATE_DIRECTORY"].split(":")[0])
    checkout = Path(prefix).parent
    if (checkout / "daemon" / "run").is_file() and (checkout / "setup.py").is_file():
        return checkout / ".incv3d"
    data_home = environ.get("XDG_DATA_HOME") or str(
        Path(environ.get("HOME", "~")).expanduser() / ".local/share"
    )
    return Path(data_home) / "incv3d"


def absolute_path(path: str, folder: Path) -> str:
    """Return `path`, which may be a pattern, as an absolute path; a relative one starts at `folder`."""
    # Path.expanduser raises an error for a user that does not exist: such a path stays as it is.
    return os.path.join(folder, os.path.expanduser(path))  # noqa: PTH111, PTH118


def latency_log_path(configured: str, environ: Mapping[str, str], prefix: str = sys.prefix) -> Path:
    """Return the path of the latency log: as configured, or in ``$LOGS_DIRECTORY``, or next to the models."""
    if configured:
        return Path(configured)
    if environ.get("LOGS_DIRECTORY"):
        return Path(environ["LOGS_DIRECTORY"].split(":")[0]) / "latency.log"
    return state_directory(environ, prefix) / "latency.log"


def keys_folder(
    configured: str, config_path: Path | None, environ: Mapping[str, str], prefix: str = sys.prefix
) -> Path:
    """Return the folder of the clients' keys.

    The first of: as configured, ``keys`` in ``$CONFIGURATION_DIRECTORY`` (systemd sets it), next to the
    configuration file, next to the models. It is the same for the service and in an administrator's shell.
    """
    if configured:
        return Path(configured)
    if environ.get("CONFIGURATION_DIRECTORY"):
        return Path(environ["CONFIGURATION_DIRECTORY"].split(":")[0]) / "keys"
    return (config_path.absolute().parent if config_path else state_directory(environ, prefix)) / "keys"

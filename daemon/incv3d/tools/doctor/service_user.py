"""Check the configuration of the service as the user that the service runs as, if root asks."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import MutableMapping
from pathlib import Path

from incv3d.config.loading import SYSTEM_FILE, find_config_file
from incv3d.protocol.secret_file import SERVICE_USER
from incv3d.tools.doctor.host import Host
from incv3d.tools.doctor.service import ask_systemd


def become_service_user(
    given: str | None,
    environ: MutableMapping[str, str],
    system_file: Path = SYSTEM_FILE,
    installers_user: str = SERVICE_USER,
) -> str:
    """Become the service's user for good if this process is root and uses the service's configuration.

    :param given: the value of ``--config``.
    :param environ: gets the folders that systemd makes for the service.
    :param system_file: the configuration of the service.
    :param installers_user: the user to become if no service is installed yet.
    :returns: the name of the user that this process now runs as.
    :raises ConfigError: if a file that was named does not exist.
    """
    current = current_user()
    path = find_config_file(given, environ)
    if os.geteuid() or path is None or path.resolve() != system_file.resolve():
        return current
    service = ask_systemd(Host())
    try:
        user = pwd.getpwnam(service.user or installers_user)
    except KeyError:
        return current
    if user.pw_uid == 0:
        return current
    for variable, folder in service.directories().items():
        environ.setdefault(variable, folder)
    environ["HOME"] = user.pw_dir
    os.setgroups([*os.getgrouplist(user.pw_name, user.pw_gid), *_ids_of(service.groups)])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    return user.pw_name


def _ids_of(groups: list[str]) -> list[int]:
    known = {each.gr_name: each.gr_gid for each in grp.getgrall()}
    return [known[name] for name in groups if name in known]


def current_user() -> str:
    """Return the name of the user that this process runs as, or the number of one without a name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())

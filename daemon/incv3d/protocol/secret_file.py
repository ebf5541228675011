"""Read and protect files that hold a secret: a password, a token, a key."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import stat
from pathlib import Path

LOG = logging.getLogger(__name__)
SERVICE_USER = "incv3d"
"""The user and group of the systemd service."""


def read_secret(path: Path, key: str, most_bytes: int) -> bytes:
    """Return up to `most_bytes` of the file at `path`; nothing for a pipe, which might never end.

    Logs a warning if every user of this machine can read the file.

    :param key: the configuration key that names the file.
    :raises OSError: the file cannot be read.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return b""
    with path.open("rb") as file:
        secret = file.read(most_bytes)
    if mode & stat.S_IROTH:
        LOG.warning("%s: every user can read %s; protect it: %s", key, path, protect_command(path))
    return secret


def protect_command(path: Path, mode: int = 0o600) -> str:
    """Return the command after which only this user and root can read `path`.

    A file of this user remains so. A file of another user becomes root's and readable by this user's group:
    mode 600 alone would deny this user, too.

    :param mode: for a file or folder of this user.
    """
    quoted = shlex.quote(str(path))
    if _owner_of(path) == os.geteuid():
        return f"chmod {mode:o} {quoted}"
    if not os.geteuid():
        return f"chown root {quoted} && chmod {mode:o} {quoted}"
    shared = 0o750 if mode & stat.S_IXUSR else 0o640
    return f"sudo chown root:{_name_of(os.getegid())} {quoted} && sudo chmod {shared:o} {quoted}"


def advice_if_denied(path: Path, mode: int = 0o600) -> str:
    """Return advice for `path`, which this user may not access.

    A file of the service remains so. Otherwise the obstacle is a folder on the way, or `path` itself.

    :param mode: as for :func:`protect_command`.
    """
    is_servant = _user_name_of(os.geteuid()) == SERVICE_USER
    for each in reversed((path, *path.absolute().parents)):
        try:
            status = each.stat()
        except OSError:
            break
        if not is_servant and SERVICE_USER in (_name_of(status.st_gid), _user_name_of(status.st_uid)):
            return f"the user {SERVICE_USER} may; run this as that user: sudo incv3d check-config"
        if each != path and not os.access(each, os.X_OK, effective_ids=True):
            return f"{each} is not accessible to this user; move the file elsewhere, such as to /etc/incv3d"
    return protect_command(path, mode)


def make_command(path: Path, program: str) -> str:
    """Return the command that writes the output of `program` to the file `path`, readable by this user.

    :param program: a shell command, such as ``openssl rand -hex 32``.
    """
    quoted = shlex.quote(str(path))
    if not os.geteuid():
        return f"{program} | install -m 600 /dev/stdin {quoted}"
    if _owner_of(path.parent) == os.geteuid():
        return f"{program} | install -m 600 /dev/stdin {quoted}"
    return f"{program} | sudo install -m 640 -o root -g {_name_of(os.getegid())} /dev/stdin {quoted}"


def is_ours_alone(path: Path) -> bool:
    """Return whether only this user and root can read or change `path`.

    This is so if group and others have no permissions, or if root owns it and this user's group can only
    read: ``root:incv3d 0640``.
    """
    status = path.stat()
    shared = stat.S_IRWXO | (stat.S_IWGRP if status.st_uid == 0 and _is_own_group(status) else stat.S_IRWXG)
    return not status.st_mode & shared


def _is_own_group(status: os.stat_result) -> bool:
    """Return whether the group is this user's own; for root, which acts for the service, the service's."""
    if os.geteuid():
        return status.st_gid == os.getegid()
    return _name_of(status.st_gid) == SERVICE_USER


def _name_of(gid: int) -> str:
    import grp  # not on Windows, where the client reads its key

    with contextlib.suppress(KeyError):
        return grp.getgrgid(gid).gr_name
    return str(gid)


def _user_name_of(uid: int) -> str:
    import pwd  # not on Windows

    with contextlib.suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)


def _owner_of(path: Path) -> int | None:
    try:
        return path.stat().st_uid
    except OSError:
        return None

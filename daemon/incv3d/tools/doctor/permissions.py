"""Work out file permissions for the current user and for the service's user."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from incv3d.machine import read_text
from incv3d.tools.doctor.host import Host

READ, WRITE, ENTER = 4, 2, 1


@dataclass(frozen=True, slots=True)
class User:
    """A user and its groups."""

    name: str
    uid: int
    gids: frozenset[int]


def current_user(machine: Host) -> User:
    """Return the user who runs this program."""
    uid = os.geteuid()
    name = next((entry[0] for entry in _entries(machine, "passwd") if entry[2:3] == [str(uid)]), str(uid))
    return User(name, uid, frozenset((os.getegid(), *os.getgroups())))


def find_user(machine: Host, name: str, more_groups: Iterable[str] = ()) -> User | None:
    """Return the user called `name`, as a service would run; None if there is no such user.

    :param more_groups: names of additional groups.
    """
    entry = next((entry for entry in _entries(machine, "passwd") if entry[0] == name), None)
    if entry is None or len(entry) < 4:
        return None
    more = set(more_groups)
    groups = [
        int(group[2])
        for group in _entries(machine, "group")
        if len(group) >= 4 and group[2].isdecimal() and (group[0] in more or name in group[3].split(","))
    ]
    return User(name, int(entry[2]), frozenset((int(entry[3]), *groups)))


def group_name(machine: Host, gid: int) -> str:
    """Return the name of a group."""
    return next((entry[0] for entry in _entries(machine, "group") if entry[2:3] == [str(gid)]), str(gid))


def has_permission(path: Path, who: User, bits: int) -> bool:
    """Return whether the mode of the file at `path` grants `who` all `bits`; ignores access control lists."""
    if who.uid == 0:
        return True
    status = path.stat()
    shift = 6 if status.st_uid == who.uid else 3 if status.st_gid in who.gids else 0
    return stat.S_IMODE(status.st_mode) >> shift & bits == bits


def can_read(path: Path, who: User) -> bool:
    """Return whether `who` can read the file at `path` and enter all its parent folders."""
    return has_permission(path, who, READ) and all(
        has_permission(folder, who, ENTER) for folder in path.absolute().parents
    )


def can_create_files(folder: Path, who: User) -> bool:
    """Return whether `who` can create files in `folder` and enter all its parent folders."""
    ways = folder.absolute().parents
    return has_permission(folder, who, WRITE | ENTER) and all(
        has_permission(each, who, ENTER) for each in ways
    )


def _entries(machine: Host, database: str) -> list[list[str]]:
    return [line.split(":") for line in read_text(machine.etc / database).splitlines()]

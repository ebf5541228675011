"""Who may do what: for the person who asks, and for the user as whom the service runs."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from incv3d.tools.doctor.host import Host, read

READ, WRITE, ENTER = 4, 2, 1


@dataclass(frozen=True, slots=True)
class Person:
    """A user, and the groups that count."""

    name: str
    uid: int
    gids: frozenset[int]


def myself(machine: Host) -> Person:
    """Whoever runs this program."""
    uid = os.geteuid()
    name = next((entry[0] for entry in _entries(machine, "passwd") if entry[2:3] == [str(uid)]), str(uid))
    return Person(name, uid, frozenset((os.getegid(), *os.getgroups())))


def person(machine: Host, name: str, more_groups: Iterable[str] = ()) -> Person | None:
    """The user called `name`, as a service runs under it; None where there is none.

    :param more_groups: names of groups that it is given besides its own.
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
    return Person(name, int(entry[2]), frozenset((int(entry[3]), *groups)))


def group_name(machine: Host, gid: int) -> str:
    """What a group is called."""
    return next((entry[0] for entry in _entries(machine, "group") if entry[2:3] == [str(gid)]), str(gid))


def may(path: Path, who: Person, bits: int) -> bool:
    """Whether the mode of the file at `path` gives `who` all of `bits` (access control lists aside)."""
    if who.uid == 0:
        return True
    status = path.stat()
    shift = 6 if status.st_uid == who.uid else 3 if status.st_gid in who.gids else 0
    return stat.S_IMODE(status.st_mode) >> shift & bits == bits


def may_read(path: Path, who: Person) -> bool:
    """Whether `who` may read the file at `path`, and enter every folder on the way."""
    return may(path, who, READ) and all(may(folder, who, ENTER) for folder in path.absolute().parents)


def may_make_files(folder: Path, who: Person) -> bool:
    """Whether `who` may make files in `folder`, and enter every folder on the way."""
    ways = folder.absolute().parents
    return may(folder, who, WRITE | ENTER) and all(may(each, who, ENTER) for each in ways)


def _entries(machine: Host, database: str) -> list[list[str]]:
    return [line.split(":") for line in read(machine.etc / database).splitlines()]

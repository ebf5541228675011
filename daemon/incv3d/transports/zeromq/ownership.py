"""Work in folders of other users without lending them root's rights.

When root writes by path into a folder of the service's user, a link put there in between can send it
elsewhere. So root takes the rights of the folder's owner first, and works by descriptor.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
MOST_LINKS = 40
"""As many as Linux follows on one way (path_resolution(7))."""


@contextlib.contextmanager
def as_owner(folder: Path) -> Iterator[int]:
    """Have the rights of the owner of `folder`, instead of root's, for as long as the block lasts.

    Nothing changes for other users than root. All threads of the process have these rights meanwhile.

    :returns: a descriptor of `folder`, for ``dir_fd``.
    :raises OSError: it is not a folder, or other users could change the way to it (see :func:`open_folder`).
    """
    descriptor = open_folder(folder)
    try:
        owner = os.fstat(descriptor)
        if os.geteuid() or owner.st_uid == 0:
            yield descriptor
        else:
            with _rights_of(owner):
                yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _rights_of(owner: os.stat_result) -> Iterator[None]:
    group = owner.st_gid
    with contextlib.suppress(KeyError):
        group = pwd.getpwuid(owner.st_uid).pw_gid
    groups_before, group_before = os.getgroups(), os.getegid()
    os.setgroups([group])
    os.setegid(group)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group_before)
        os.setgroups(groups_before)


def open_folder(path: Path) -> int:
    """Return a descriptor of the folder `path`. Root follows only links that root alone can have made.

    :raises OSError: it is missing or not a folder; for root also where another user can have made a link on
        the way, or could replace a folder of root's.
    """
    if os.geteuid():
        return os.open(path, FOLDER)
    names = list(reversed(path.absolute().parts[1:]))
    links = 0
    replaceable = False
    folder = os.open("/", FOLDER)
    try:
        while names:
            status = os.fstat(folder)
            linkable = _is_writable_to_others(status)
            # In a sticky folder such as /tmp another user can make links, but not replace what is root's.
            replaceable |= linkable and bool(status.st_uid or not status.st_mode & stat.S_ISVTX)
            name = names.pop()
            entry = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISLNK(entry.st_mode):
                links += 1
                if linkable or replaceable or links > MOST_LINKS:
                    raise PermissionError(errno.EPERM, f"root does not follow the link `{name}`")
                target = Path(os.readlink(name, dir_fd=folder))
                names += reversed(target.parts[1:] if target.is_absolute() else target.parts)
                name = "/" if target.is_absolute() else "."
            inside = os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inside
        if replaceable and os.fstat(folder).st_uid == 0:
            raise PermissionError(errno.EPERM, "another user could replace this folder of root's")
    except OSError as error:
        os.close(folder)
        raise OSError(error.errno, error.strerror, str(path)) from None
    return folder


def _is_writable_to_others(status: os.stat_result) -> bool:
    group_writes = status.st_gid != 0 and status.st_mode & stat.S_IWGRP
    return bool(status.st_uid or group_writes or status.st_mode & stat.S_IWOTH)


def make_folder(folder: Path, servant: str) -> None:
    """Make `folder`, for its owner alone (mode 700), and what is missing above it.

    It belongs to the owner of the folder above; in one of root's, to the user `servant` where there is one.

    :raises OSError: as for :func:`as_owner`, or it cannot be made.
    """
    for each in reversed([each for each in folder.parents if not os.path.lexists(each)]):
        with as_owner(each.parent) as above, contextlib.suppress(FileExistsError):
            os.mkdir(each.name, 0o755, dir_fd=above)
    with as_owner(folder.parent) as above, contextlib.suppress(FileExistsError):
        os.mkdir(folder.name, 0o700, dir_fd=above)
        if os.geteuid() == 0:
            _hand_over(folder.name, above, servant)


def _hand_over(name: str, above: int, servant: str) -> None:
    """Give the folder `name`, just made in one of root's, where no other user can swap it, to `servant`."""
    with contextlib.suppress(KeyError):
        user = pwd.getpwnam(servant)
        os.chown(name, user.pw_uid, user.pw_gid, dir_fd=above, follow_symlinks=False)


def create(path: Path, content: bytes, reader: str = "") -> None:
    """Make the file `path`, for its owner alone (mode 600); one that is there already is left as it is.

    What root makes belongs to the owner of the folder.

    :param reader: a user whose group can read the file if it becomes root's (mode 640).
    :raises OSError: it is there already, or cannot be written; nothing is left then.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with as_owner(path.parent) as folder:
        descriptor = os.open(path.name, flags, 0o600, dir_fd=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                if reader and os.geteuid() == 0:
                    _share(descriptor, reader)
                file.write(content)
                file.flush()
                os.fsync(descriptor)
        except OSError:
            os.unlink(path.name, dir_fd=folder)
            raise


def _share(descriptor: int, reader: str) -> None:
    with contextlib.suppress(KeyError):
        os.fchown(descriptor, -1, pwd.getpwnam(reader).pw_gid)
        os.fchmod(descriptor, 0o640)


def remove(path: Path) -> None:
    """Remove the file `path`.

    :raises OSError: it is not there, or cannot be removed.
    """
    with as_owner(path.parent) as folder:
        os.unlink(path.name, dir_fd=folder)

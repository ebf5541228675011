"""Work in other users' folders without giving them root's rights.

When root writes by path into a folder of the service's user, that user can put a link there meanwhile, which
leads elsewhere. So root takes the rights of the folder's owner first, and works by descriptor.
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
"""The most links that Linux follows in one path (path_resolution(7))."""


@contextlib.contextmanager
def as_owner(folder: Path) -> Iterator[int]:
    """Take the rights of the owner of `folder`, instead of root's, during the block.

    For other users than root, nothing changes. All threads of the process have these rights meanwhile.

    :returns: a descriptor of `folder`, for ``dir_fd``.
    :raises OSError: it is not a folder, or other users could redirect its path (see :func:`open_folder`).
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

    :raises OSError: it is missing or not a folder; for root also if another user could have put a link into
        the path, or could replace one of root's folders.
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


def make_folder(folder: Path, service_user: str) -> None:
    """Create `folder`, for its owner only (mode 700), and missing folders above it.

    It belongs to the owner of the folder above; in one of root's, to the user `service_user` if there is one.

    :raises OSError: as for :func:`as_owner`, or it cannot be created.
    """
    for each in reversed([each for each in folder.parents if not os.path.lexists(each)]):
        with as_owner(each.parent) as above, contextlib.suppress(FileExistsError):
            os.mkdir(each.name, 0o755, dir_fd=above)
    with as_owner(folder.parent) as above, contextlib.suppress(FileExistsError):
        os.mkdir(folder.name, 0o700, dir_fd=above)
        if os.geteuid() == 0:
            _hand_over(folder.name, above, service_user)


def _hand_over(name: str, above: int, service_user: str) -> None:
    """Give the folder `name`, new in one of root's, where no other user can swap it, to `service_user`."""
    with contextlib.suppress(KeyError):
        user = pwd.getpwnam(service_user)
        os.chown(name, user.pw_uid, user.pw_gid, dir_fd=above, follow_symlinks=False)


def create(path: Path, content: bytes, reader: str = "") -> None:
    """Create the file `path`, for its owner only (mode 600); an existing one stays as it is.

    If root creates it, it belongs to the owner of the folder.

    :param reader: a user whose group can read the file if it belongs to root (mode 640).
    :raises OSError: it exists already, or cannot be written; then nothing is left behind.
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

    :raises OSError: it is missing, or cannot be removed.
    """
    with as_owner(path.parent) as folder:
        os.unlink(path.name, dir_fd=folder)

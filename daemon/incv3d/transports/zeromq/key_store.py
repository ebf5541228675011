"""The server's key pair and its authorized clients, in one folder.

``server.key`` holds the daemon's pair, ``clients/NAME.key`` the public key of one client each. A client's
secret is not kept here.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from incv3d.protocol.curve_keys import (
    ClientKey,
    KeyFileDenied,
    KeyFileError,
    KeyPair,
    certificate,
    check_curve,
    check_key,
    new_pair,
    pair_of,
    read_keys,
)
from incv3d.protocol.secret_file import SERVICE_USER, advice_if_denied, is_ours_alone, protect_command
from incv3d.transports.zeromq.ownership import as_owner, create, make_folder, remove

LOG = logging.getLogger(__name__)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SUFFIX = ".key"
WRITABLE = stat.S_IWGRP | stat.S_IWOTH
Signature = tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class KnownClient:
    """A client that may connect."""

    name: str
    public: bytes
    """Its key, in Z85."""
    since: float
    """When its file was created, in seconds since 1970."""


class KeyStore:
    """The keys in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server_file = folder / f"server{SUFFIX}"
        self._clients_folder = folder / "clients"

    @property
    def exists(self) -> bool:
        """Return whether there is a server key.

        :raises KeyFileError: this user may not read the folder.
        """
        try:
            return self.server_file.exists()
        except PermissionError as error:
            advice = advice_if_denied(self.folder, 0o700)
            raise KeyFileDenied(f"{self.folder}: {error.strerror}: {advice}") from None

    def new(self, replace: bool = False) -> None:
        """Create the daemon's own pair.

        :param replace: whether to replace an existing one; then the clients' files become useless.
        :raises KeyFileError: there is one already, or the folder cannot be written.
        """
        if self.exists and not replace:
            raise KeyFileError(
                f"{self.server_file} exists already; "
                "--replace creates another, and then every client needs a new file"
            )
        pair = new_pair()
        comment = "The secret key of an incv3d daemon: for its own user alone."
        with self._errors_explained():
            content = certificate(comment, public=pair.public, secret=pair.secret)
            for folder in (self.folder, self._clients_folder):
                make_folder(folder, SERVICE_USER)
            _put(self.server_file, content, replace)

    def server(self) -> KeyPair:
        """Return the daemon's own pair.

        :raises KeyFileError: it is missing or damaged, other users can read it or authorize themselves, or
            ZeroMQ has no CURVE.
        """
        check_curve()
        pair = pair_of(read_keys(self.server_file), self.server_file)
        with self._errors_explained():
            self._check_permissions(self.server_file, 0o600, "other users can read the daemon's secret key")
            for folder in (self.folder, self._clients_folder):
                if folder.is_dir() and folder.stat().st_mode & WRITABLE:
                    self._check_permissions(folder, 0o700, "other users can authorize themselves there")
        return pair

    def server_public(self) -> bytes:
        """Return the key by which clients recognize the daemon.

        :raises KeyFileError: there is no key yet, or it cannot be read.
        """
        if not self.exists:
            raise KeyFileError(f"there is no server key in {self.folder} yet: incv3d keys new")
        return pair_of(read_keys(self.server_file), self.server_file).public

    def add(self, name: str, public: str) -> None:
        """Authorize a client that has created its own pair.

        :param public: its public key.
        :raises KeyFileError: the name is invalid, it or the key is in use, or there is no server key yet.
        """
        path = self._file_of(name)
        key = check_key(public, "the public key")
        known = self.clients().get(key)
        if known or key == self.server_public():
            owner = f"the client `{known.name}`" if known else "the daemon"
            raise KeyFileError(f"this is the key of {owner} already")
        comment = f"The public key of the client `{name}` of an incv3d daemon."
        with self._errors_explained():
            make_folder(self._clients_folder, SERVICE_USER)
            try:
                _put(path, certificate(comment, public=key), replace=False)
            except FileExistsError:
                raise _taken(name) from None

    def issue(self, name: str, target: Path | None) -> bytes:
        """Create a pair for a client, authorize it, and write all that it needs into one file.

        :param target: the file; None: write none.
        :returns: the content of the file, which is kept nowhere else.
        :raises KeyFileError: as for :meth:`add`; or `target` exists already, or cannot be written.
        """
        if self._file_of(name).exists():
            raise _taken(name)
        key = ClientKey(new_pair(), self.server_public())
        content = client_file(name, key)
        if target:
            _create(target, content)
        try:
            self.add(name, key.pair.public.decode())
        except BaseException:
            if target:
                with contextlib.suppress(OSError):
                    remove(target)
            raise
        return content

    def revoke(self, name: str) -> None:
        """Revoke a client's authorization.

        :raises KeyFileError: there is no client of this name.
        """
        path = self._file_of(name)
        with self._errors_explained():
            try:
                remove(path)
            except FileNotFoundError:
                known = ", ".join(sorted(client.name for client in self.clients().values()))
                hint = f"the clients are: {known}" if known else "no client has a key yet"
                raise KeyFileError(f"no client `{name}`: {hint}") from None

    def clients(self) -> dict[bytes, KnownClient]:
        """Return the clients that may connect, by public key. Skip files that cannot be used, with a warning.

        :raises KeyFileError: the folder cannot be read.
        """
        found = {}
        with self._errors_explained():
            paths = sorted(self._clients_folder.iterdir()) if self._clients_folder.exists() else []
        for path in paths:
            if path.suffix != SUFFIX or not NAME.fullmatch(path.stem):
                continue
            try:
                key = read_keys(path)["public"]
                found[key] = KnownClient(path.stem, key, path.stat().st_mtime)
            except KeyFileError as error:
                LOG.warning("%s; this client cannot connect", error)
            except (KeyError, OSError):
                LOG.warning("%s: it holds no public key; this client cannot connect", path)
        return found

    def signature(self) -> Signature:
        """Return what changes when a client is added or revoked, but not when a file is overwritten."""
        try:
            status = self._clients_folder.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns

    def _file_of(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise KeyFileError(
                f"`{name}` cannot be a client's name: at most 64 letters, digits, `.`, `_` and `-`, "
                "a letter or a digit first"
            )
        return self._clients_folder / f"{name}{SUFFIX}"

    def _check_permissions(self, path: Path, mode: int, what: str) -> None:
        if not is_ours_alone(path):
            raise KeyFileError(f"{path}: {what}: {protect_command(path, mode)}")

    @contextlib.contextmanager
    def _errors_explained(self) -> Iterator[None]:
        try:
            yield
        except FileExistsError:
            raise
        except PermissionError as error:
            raise KeyFileDenied(f"{error.filename or self.folder}: {error.strerror}") from None
        except OSError as error:
            raise KeyFileError(f"{error.filename or self.folder}: {error.strerror}") from None


def _taken(name: str) -> KeyFileError:
    return KeyFileError(f"there is a client `{name}` already; for another key: incv3d keys revoke {name}")


def client_file(name: str, key: ClientKey) -> bytes:
    """Return the content of the one file that a client needs."""
    comment = (
        f"The key of the client `{name}` of an incv3d daemon: a secret (chmod 600).\n"
        "incv3d send --key FILE, or Client(key=FILE) from Python."
    )
    return certificate(comment, server=key.server, public=key.pair.public, secret=key.pair.secret)


def _create(path: Path, content: bytes) -> None:
    try:
        create(path, content)
    except OSError as error:
        hint = "; move it, or name another one with --out" if error.errno == errno.EEXIST else ""
        raise KeyFileError(f"{path}: cannot be created: {error.strerror}{hint}") from None


def _put(path: Path, content: bytes, replace: bool) -> None:
    """Write a file completely or not at all, readable by its owner, and in root's folders by the service.

    :raises FileExistsError: it exists, and must not be replaced.
    """
    temporary = f".{path.name}.{os.urandom(8).hex()}"
    create(path.with_name(temporary), content, reader=SERVICE_USER)
    with as_owner(path.parent) as folder:
        # A link is only created where there is nothing yet.
        publish = os.replace if replace else os.link
        try:
            publish(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)

"""The daemon's side of the keys: its own pair, and whom it lets in. One folder.

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
    """One client that may connect."""

    name: str
    public: bytes
    """In Z85."""
    since: float
    """When its file was made, seconds since 1970."""


class KeyStore:
    """The keys in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server_file = folder / f"server{SUFFIX}"
        self._clients_folder = folder / "clients"

    @property
    def made(self) -> bool:
        """Whether there is a server key.

        :raises KeyFileError: this user may not look.
        """
        try:
            return self.server_file.exists()
        except PermissionError as error:
            advice = advice_if_denied(self.folder, 0o700)
            raise KeyFileDenied(f"{self.folder}: {error.strerror}: {advice}") from None

    def new(self, replace: bool = False) -> None:
        """Make the daemon's own pair.

        :param replace: whether there may be one already; no client's file is of use any more then.
        :raises KeyFileError: there is one, or the folder cannot be written.
        """
        if self.made and not replace:
            raise KeyFileError(
                f"{self.server_file} is there already; "
                "--replace makes another, and then every client needs a new file"
            )
        pair = new_pair()
        comment = "The secret key of an incv3d daemon: for its own user alone."
        with self._errors_explained():
            content = certificate(comment, public=pair.public, secret=pair.secret)
            for folder in (self.folder, self._clients_folder):
                make_folder(folder, SERVICE_USER)
            _put(self.server_file, content, replace)

    def server(self) -> KeyPair:
        """The daemon's own pair.

        :raises KeyFileError: it is missing, damaged, or others than its owner can read it, or could let
            themselves in; or ZeroMQ has no CURVE.
        """
        check_curve()
        pair = pair_of(read_keys(self.server_file), self.server_file)
        with self._errors_explained():
            self._refuse_loose(self.server_file, 0o600, "others can read the daemon's secret key")
            for folder in (self.folder, self._clients_folder):
                if folder.is_dir() and folder.stat().st_mode & WRITABLE:
                    self._refuse_loose(folder, 0o700, "others can put keys there, for themselves")
        return pair

    def server_public(self) -> bytes:
        """The key by which clients know the daemon.

        :raises KeyFileError: there is none yet, or it cannot be read.
        """
        if not self.made:
            raise KeyFileError(f"there is no server key in {self.folder} yet: incv3d keys new")
        return pair_of(read_keys(self.server_file), self.server_file).public

    def add(self, name: str, public: str) -> None:
        """Let a client in that has made its own pair.

        :param public: its public key.
        :raises KeyFileError: the name is none, or it or the key is in use, or there is no server key yet.
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
                raise KeyFileError(
                    f"there is a client `{name}` already; for another key: incv3d keys revoke {name}"
                ) from None

    def hand_out(self, name: str, target: Path | None) -> bytes:
        """Make a pair for a client, let it in, and put all that it needs into one file.

        :param target: the file; None: it is only returned.
        :returns: the content of the file, which is kept nowhere else.
        :raises KeyFileError: as for :meth:`add`; or `target` is there already, or cannot be written.
        """
        self._file_of(name)
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
        """Let a client in no more.

        :raises KeyFileError: there is none of this name.
        """
        path = self._file_of(name)
        with self._errors_explained():
            try:
                remove(path)
            except FileNotFoundError:
                known = ", ".join(sorted(client.name for client in self.clients().values())) or "none yet"
                raise KeyFileError(f"there is no client `{name}`; there are: {known}") from None

    def clients(self) -> dict[bytes, KnownClient]:
        """Who may connect, by public key. A file that cannot be used is passed over, with a warning.

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
                LOG.warning("%s; this client is not let in", error)
            except (KeyError, OSError):
                LOG.warning("%s: no public key in it; this client is not let in", path)
        return found

    def signature(self) -> Signature:
        """Changes when a client was added or revoked; not when a file was written over in its place."""
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

    def _refuse_loose(self, path: Path, mode: int, what: str) -> None:
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


def client_file(name: str, key: ClientKey) -> bytes:
    """The one file that a client needs."""
    comment = (
        f"The key of the client `{name}` of an incv3d daemon: a secret (chmod 600).\n"
        "incv3d send --key FILE, or Client(key=FILE) from Python."
    )
    return certificate(comment, server=key.server, public=key.pair.public, secret=key.pair.secret)


def _create(path: Path, content: bytes) -> None:
    try:
        create(path, content)
    except OSError as error:
        hint = "; move it away, or name another with --out" if error.errno == errno.EEXIST else ""
        raise KeyFileError(f"{path}: cannot be made: {error.strerror}{hint}") from None


def _put(path: Path, content: bytes, replace: bool) -> None:
    """Write the whole file or none, for its owner alone, and for the service's group in a folder of root's.

    :raises FileExistsError: it is there, and is not to be replaced.
    """
    temporary = f".{path.name}.{os.urandom(8).hex()}"
    create(path.with_name(temporary), content, reader=SERVICE_USER)
    with as_owner(path.parent) as folder:
        # A link is made only where nothing is yet.
        publish = os.replace if replace else os.link
        try:
            publish(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)

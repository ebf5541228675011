"""CURVE keys in files, as ZeroMQ's certificates: ``public-key = "…"`` lines (czmq's zcert, ``zmq.auth``)."""

from __future__ import annotations

import logging
import os
import re
import stat
import struct
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.utils import z85

from incv3d.errors import Incv3dError, pip_install
from incv3d.protocol.secret_file import advice_if_denied, is_ours_alone, protect_command

LOG = logging.getLogger(__name__)
LARGEST_FILE = 16 * 1024
KEY_LENGTH = 40
"""Characters of a key of 32 bytes in Z85 (ZeroMQ RFC 32)."""
LINE = re.compile(r'^\s*(public|secret|server)-key\s*=\s*"(.*)"\s*$', re.MULTILINE)
AT_ONCE = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
"""Windows has neither, nor pipes among its files."""


class KeyFileError(Incv3dError):
    """A key, or the file of one, cannot be used."""

    is_lasting = True


class KeyFileDenied(KeyFileError):
    """Another user's key."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """One side's keys, in Z85."""

    public: bytes
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClientKey:
    """All that a client needs: its own pair, and the public key by which it knows the daemon. In Z85."""

    pair: KeyPair
    server: bytes

    def lock(self, socket: zmq.Socket[bytes]) -> None:
        """Let `socket`, which is not connected yet, use these keys."""
        socket.curve_publickey = self.pair.public
        socket.curve_secretkey = self.pair.secret
        socket.curve_serverkey = self.server


def new_pair() -> KeyPair:
    """A key pair that nobody else has.

    :raises KeyFileError: ZeroMQ was built without CURVE.
    """
    check_curve()
    return KeyPair(*zmq.curve_keypair())


def check_curve() -> None:
    """Make sure that ZeroMQ has CURVE.

    :raises KeyFileError: it was built without.
    """
    if not zmq.has("curve"):
        raise KeyFileError(
            f"ZeroMQ {zmq.zmq_version()} was built without CURVE here, so it has no keys; "
            "pip's own build has it: " + pip_install("--force-reinstall", "--only-binary", "pyzmq", "pyzmq")
        )


def check_key(text: str, where: str) -> bytes:
    """`text` as a key.

    :raises KeyFileError: it is none; it is not repeated in the message, as it may be a damaged secret.
    """
    try:
        if len(text) == KEY_LENGTH and len(z85.decode(text)) == 32:
            return text.encode("ascii")
    except (ValueError, KeyError, struct.error):
        pass
    raise KeyFileError(f"{where}: not a key of ZeroMQ, which has {KEY_LENGTH} characters (Z85)")


def read_client_key(path: str | os.PathLike[str]) -> ClientKey:
    """The file that ``incv3d keys add`` made for one client.

    :raises KeyFileError: missing, unreadable, damaged, or not a client's; or ZeroMQ has no CURVE.
    """
    check_curve()
    path = Path(os.path.expanduser(path))  # noqa: PTH111 - an unknown ~user stays as it is
    keys = read_keys(path)
    if "server" not in keys:
        raise KeyFileError(f"{path}: no client's key: there is no `server-key` line in it")
    if os.name == "posix" and not is_ours_alone(path):
        LOG.warning("%s: others on this machine can read this key: %s", path, protect_command(path))
    return ClientKey(pair_of(keys, path), keys["server"])


def pair_of(keys: dict[str, bytes], path: Path) -> KeyPair:
    """The pair in what :func:`read_keys` found in `path`.

    :raises KeyFileError: a half is missing, or the halves do not belong together.
    """
    if not {"public", "secret"} <= keys.keys():
        raise KeyFileError(f"{path}: needs a `public-key` line and a `secret-key` line")
    if zmq.curve_public(keys["secret"]) != keys["public"]:
        raise KeyFileError(f"{path}: its public key is not that of its secret key; the file is damaged")
    return KeyPair(keys["public"], keys["secret"])


def read_keys(path: Path) -> dict[str, bytes]:
    """The keys in `path`: ``public``, ``secret`` and ``server``, as far as they are there.

    :raises KeyFileError: missing, unreadable, or what is there is no key.
    """
    try:
        # A pipe that nobody writes to must not keep us waiting.
        with os.fdopen(os.open(path, os.O_RDONLY | AT_ONCE), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise KeyFileError(f"{path}: not a file with keys")
            text = file.read(LARGEST_FILE).decode("utf-8", "replace")
    except PermissionError as error:
        advice = advice_if_denied(path) if os.name == "posix" else "who owns it?"
        raise KeyFileDenied(f"{path}: cannot be read: {error.strerror}: {advice}") from None
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read: {error.strerror}") from None
    keys = {which: check_key(key, f"{path}: {which}-key") for which, key in LINE.findall(text)}
    if not keys:
        raise KeyFileError(f"{path}: there are no keys in it")
    return keys


def certificate(comment: str, **keys: bytes) -> bytes:
    """The content of a file with these keys: ``public=…, secret=…``.

    A client's file names the server's key among its metadata, where other programs pass over it.
    """
    server = keys.pop("server", None)
    lines = [f"#   {line}" for line in comment.splitlines()]
    lines += ["metadata", f'    server-key = "{server.decode()}"'] if server else []
    lines += ["curve", *(f'    {which}-key = "{key.decode()}"' for which, key in keys.items())]
    return ("\n".join(lines) + "\n").encode()

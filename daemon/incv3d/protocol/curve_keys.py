"""Read and write CURVE keys as ZeroMQ certificates: ``public-key = "…"`` lines (czmq's zcert,
``zmq.auth``)."""

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
"""Number of characters of a 32-byte key in Z85 (ZeroMQ RFC 32)."""
LINE = re.compile(r'^\s*(public|secret|server)-key\s*=\s*"(.*)"\s*$', re.MULTILINE)
AT_ONCE = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
"""Windows has neither flag, and no pipes among its files."""


class KeyFileError(Incv3dError):
    """A key or its file cannot be used."""

    is_lasting = True


class KeyFileDenied(KeyFileError):
    """The file belongs to another user."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """The keys of one side, in Z85."""

    public: bytes
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClientKey:
    """The keys that a client needs, in Z85: its own pair, and the public key of the daemon."""

    pair: KeyPair
    server: bytes

    def lock(self, socket: zmq.Socket[bytes]) -> None:
        """Set these keys on `socket`, before it is connected."""
        socket.curve_publickey = self.pair.public
        socket.curve_secretkey = self.pair.secret
        socket.curve_serverkey = self.server


def new_pair() -> KeyPair:
    """Return a new key pair.

    :raises KeyFileError: ZeroMQ was built without CURVE.
    """
    check_curve()
    return KeyPair(*zmq.curve_keypair())


def check_curve() -> None:
    """Check that ZeroMQ supports CURVE.

    :raises KeyFileError: it was built without CURVE.
    """
    if not zmq.has("curve"):
        raise KeyFileError(
            f"ZeroMQ {zmq.zmq_version()} cannot use keys, because it was built without CURVE; "
            "the build on PyPI supports it: "
            + pip_install("--force-reinstall", "--only-binary", "pyzmq", "pyzmq")
        )


def check_key(text: str, where: str) -> bytes:
    """Return `text` as a key.

    :raises KeyFileError: it is not a key. The message does not repeat it, because it may be a damaged secret.
    """
    try:
        if len(text) == KEY_LENGTH and len(z85.decode(text)) == 32:
            return text.encode("ascii")
    except (ValueError, KeyError, struct.error):
        pass
    raise KeyFileError(f"{where}: not a ZeroMQ key: a key has {KEY_LENGTH} characters (Z85)")


def read_client_key(path: str | os.PathLike[str]) -> ClientKey:
    """Read the file that ``incv3d keys add`` made for one client.

    :raises KeyFileError: it is missing, unreadable, damaged, or not a client's; or ZeroMQ has no CURVE.
    """
    check_curve()
    path = Path(os.path.expanduser(path))  # noqa: PTH111 - keeps an unknown ~user unchanged
    keys = read_keys(path)
    if "server" not in keys:
        raise KeyFileError(f"{path}: not a client's key: it has no `server-key` line")
    if os.name == "posix" and not is_ours_alone(path):
        LOG.warning("%s: other users can read this key; protect it: %s", path, protect_command(path))
    return ClientKey(pair_of(keys, path), keys["server"])


def pair_of(keys: dict[str, bytes], path: Path) -> KeyPair:
    """Return the pair in the keys that :func:`read_keys` found in `path`.

    :raises KeyFileError: one key is missing, or the two do not match.
    """
    if not {"public", "secret"} <= keys.keys():
        raise KeyFileError(f"{path}: needs a `public-key` line and a `secret-key` line")
    if zmq.curve_public(keys["secret"]) != keys["public"]:
        raise KeyFileError(f"{path}: damaged: its public key does not match its secret key")
    return KeyPair(keys["public"], keys["secret"])


def read_keys(path: Path) -> dict[str, bytes]:
    """Return the keys in `path`: ``public``, ``secret`` and ``server``, as far as present.

    :raises KeyFileError: the file is missing or unreadable, or a key in it is invalid.
    """
    try:
        # Opening a pipe without a writer must not block.
        with os.fdopen(os.open(path, os.O_RDONLY | AT_ONCE), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise KeyFileError(f"{path}: not a regular file")
            text = file.read(LARGEST_FILE).decode("utf-8", "replace")
    except PermissionError as error:
        advice = advice_if_denied(path) if os.name == "posix" else "check its owner and permissions"
        raise KeyFileDenied(f"{path}: cannot be read: {error.strerror}: {advice}") from None
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read: {error.strerror}") from None
    keys = {which: check_key(key, f"{path}: {which}-key") for which, key in LINE.findall(text)}
    if not keys:
        raise KeyFileError(f"{path}: it contains no keys")
    return keys


def certificate(comment: str, **keys: bytes) -> bytes:
    """Return the content of a file with these keys: ``public=…, secret=…``.

    A client's file has the server's key in its metadata, which other programs ignore.
    """
    server = keys.pop("server", None)
    lines = [f"#   {line}" for line in comment.splitlines()]
    lines += ["metadata", f'    server-key = "{server.decode()}"'] if server else []
    lines += ["curve", *(f'    {which}-key = "{key.decode()}"' for which, key in keys.items())]
    return ("\n".join(lines) + "\n").encode()

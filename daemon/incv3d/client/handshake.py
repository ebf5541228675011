"""Explain failed connections. ZeroMQ retries silently; this turns handshake events into error messages."""

from __future__ import annotations

import zmq

from incv3d.errors import Incv3dError
from incv3d.protocol.curve_keys import ClientKey

FAILED_HANDSHAKE = (
    zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.HANDSHAKE_FAILED_AUTH
)
MECHANISM_MISMATCH = 0x11000002
"""``ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH`` of zmq.h: one side has keys, the other does not."""
FAILURES_IN_A_ROW = 5
"""A daemon hangs up on a message sealed for another key, and also when it is being stopped. If one side has
no keys, it can hang up before this side has read why, but not repeatedly."""


class ClientError(Incv3dError):
    """The daemon could not be asked."""


class AddressError(ClientError):
    """The daemon's address is not valid."""

    is_lasting = True


class NoEntry(ClientError):
    """The daemon requires a key, or rejects this one: retrying is useless."""


class HandshakeMonitor:
    """Follows the handshakes with the daemon at `address`.

    :param key: the key of this side.
    """

    def __init__(self, address: str, key: ClientKey | None) -> None:
        self._address = address
        self._key = key
        self._failures = 0

    def succeeded(self) -> None:
        """Note a successful handshake."""
        self._failures = 0

    def failed(self, event: int, value: int) -> None:
        """Note a failed handshake: an event of the socket's monitor, and its value.

        :raises NoEntry: it would always fail.
        """
        self._failures += 1
        if event == zmq.Event.HANDSHAKE_FAILED_AUTH:
            raise NoEntry(f"{self._address}: the daemon does not know this key; see: incv3d keys list")
        if value == MECHANISM_MISMATCH and self._key:
            raise NoEntry(f"{self._address}: the server does not use keys; connect without the key")
        if value == MECHANISM_MISMATCH:
            raise NoEntry(
                f"{self._address}: the daemon requires a key: --key FILE or Client(key=FILE), with the file "
                "that `incv3d keys add` makes on the daemon's machine"
            )
        if self._key and self._failures >= FAILURES_IN_A_ROW:
            raise NoEntry(
                f"{self._address}: this key does not match the server: it belongs to another daemon, "
                "or that server does not use keys or is not incv3d"
            )

"""Why a connection to a daemon does not come about: ZeroMQ tries again in silence, this finds the words."""

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
"""``ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH`` of zmq.h: one side has keys, the other has none."""
FAILURES_IN_A_ROW = 5
"""A daemon hangs up on what was sealed for another one, as it does when it is being stopped. Where one side
has no keys, it can do so before this side has read why, but not time after time."""


class ClientError(Incv3dError):
    """The daemon could not be asked."""


class NoEntry(ClientError):
    """The daemon wants a key, or does not take this one: to go on trying is of no use."""


class HandshakeMonitor:
    """Follows the handshakes with the daemon at `address`.

    :param key: what this side has to show.
    """

    def __init__(self, address: str, key: ClientKey | None) -> None:
        self._address = address
        self._key = key
        self._failures = 0

    def succeeded(self) -> None:
        """A handshake ended well."""
        self._failures = 0

    def failed(self, event: int, value: int) -> None:
        """A handshake failed: an event of the socket's monitor, and its value.

        :raises NoEntry: it would always fail.
        """
        self._failures += 1
        if event == zmq.Event.HANDSHAKE_FAILED_AUTH:
            raise NoEntry(f"{self._address}: the daemon does not know this key (any more): incv3d keys list")
        if value == MECHANISM_MISMATCH and self._key:
            raise NoEntry(f"{self._address}: there is no daemon that takes keys; try without the key")
        if value == MECHANISM_MISMATCH:
            raise NoEntry(
                f"{self._address}: the daemon wants a key: --key FILE, or Client(key=FILE), with the file "
                "that `incv3d keys add` makes on its machine"
            )
        if self._key and self._failures >= FAILURES_IN_A_ROW:
            raise NoEntry(
                f"{self._address}: this key is not for what listens there: the daemon's own key is another, "
                "it takes none, or it is no incv3d"
            )

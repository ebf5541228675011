"""Create the configured transports, and call them one after the other."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

from incv3d.config.schema import Config
from incv3d.frames import Refusal, Result
from incv3d.threads import Activity
from incv3d.transports.base import Transport, TransportContext
from incv3d.transports.registry import TRANSPORTS

LOG = logging.getLogger(__name__)
LEAST_CLOSING_S = 1.0
"""The timeout for closing a transport when the daemon should have stopped already."""


class Transports:
    """The transports that the configuration turns on. There are none before :meth:`create`."""

    def __init__(self) -> None:
        self._transports: Sequence[Transport] = ()

    def __iter__(self) -> Iterator[Transport]:
        return iter(self._transports)

    def create(self, context: TransportContext, types: Sequence[type[Transport]] = TRANSPORTS) -> None:
        """Create the configured transports.

        :param types: all transports there are.
        :raises Incv3dError: a setting, a key, a password or a library is missing or wrong.
        """
        self._transports = [each(context) for each in types if each.is_configured(context.config)]

    @property
    def activities(self) -> list[Activity]:
        """Return what the threads of the transports are doing."""
        return [activity for transport in self for activity in transport.activities]

    @property
    def undelivered(self) -> int:
        """Return how many answers could not be sent."""
        return sum(transport.undelivered for transport in self)

    def open(self) -> None:
        """Bind all addresses, then start to serve.

        :raises TransportError: an address cannot be used.
        """
        for transport in self:
            transport.open()
        for transport in self:
            transport.start()

    def ready(self) -> None:
        """Accept frames: the Session is warm."""
        for transport in self:
            transport.ready()

    def reconfigure(self, config: Config) -> None:
        """Apply a new configuration; addresses stay as they are."""
        for transport in self:
            transport.reconfigure(config)

    def reread_keys(self) -> None:
        """Read the clients' keys again."""
        for transport in self:
            transport.reread_keys()

    def forget_sources(self) -> None:
        """Forget what earlier sources captured: the daemon has another source now."""
        for transport in self:
            transport.forget_sources()

    def paused(self, is_paused: bool) -> None:
        """Tell the transports that the daemon has paused, or resumed, classifying camera frames."""
        for transport in self:
            transport.paused(is_paused)

    def complete(self, result: Result, is_accepted: bool) -> None:
        """Tell the transports that all of them have accepted `result`; do nothing if one has not."""
        if is_accepted:
            for transport in self:
                transport.complete(result)

    def status(self) -> dict[str, Any]:
        """Return the part of the answer to ``stats`` that is about transports."""
        return {key: value for transport in self for key, value in transport.status().items()}

    def stopping(self) -> None:
        """Take no more frames from brokers: the daemon is stopping."""
        for transport in self:
            transport.stopping()

    def close(self, deadline: float, refusal: Refusal, detail: str) -> None:
        """Send the answers that are ready, answer all other requests with `refusal`, and close.

        :param deadline: when the daemon should have stopped (monotonic).
        """
        for transport in self:
            timeout_s = transport.closing_s or max(LEAST_CLOSING_S, deadline - time.monotonic())
            if not transport.close(timeout_s, refusal, detail):
                LOG.warning("%s: did not close within %.1f s", transport.name, timeout_s)

"""Send load over several ZeroMQ connections, in one thread."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

import msgspec
import zmq

from incv3d.client.client import age_since
from incv3d.client.connection import LONGEST_POLL_MS, ClientError, Connection, NoAnswer
from incv3d.client.daemon_address import REQUEST_PORT, connect_address
from incv3d.frames import image_format
from incv3d.protocol import messages
from incv3d.protocol.curve_keys import ClientKey
from incv3d.tools.load.sender import InFlight, LoadImage, LoadSender, Plan, SendResult

NAP_S = 0.0002
"""ZeroMQ's poller counts milliseconds; the last one before a slot is spent sleeping in such steps."""


@dataclass(slots=True, eq=False)
class _Link:
    """One connection, with the number of images in flight and the total sent on it."""

    connection: Connection
    in_flight: int = 0
    taken: int = 0


@dataclass(slots=True, kw_only=True)
class _LinkEntry(InFlight):
    """An image on its connection."""

    link: _Link
    header: messages.Header
    losses: int = 0
    """The connection's losses when it was sent: if they have increased, its answer is lost."""


class ZmqLoadSender(LoadSender[_LinkEntry]):
    """Several connections to one daemon, and the images in flight on them.

    :param key: for a daemon that requires one.
    :raises ClientError: if ZeroMQ cannot connect to the address.
    """

    def __init__(self, address: str, plan: Plan, key: ClientKey | None = None) -> None:
        super().__init__(plan)
        self._address = connect_address(address, REQUEST_PORT)
        self._key = key
        self._context = zmq.Context()
        self._poller = zmq.Poller()
        self._links: list[_Link] = []
        self._link_of: dict[object, _Link] = {}
        try:
            for _ in range(plan.connections):
                self._open_link()
        except ClientError:
            self.close()
            raise

    def connect(self) -> None:
        """Wait until all connections are open, so that the first round trips do not include connecting.

        :raises NoAnswer: if one is not within the plan's ``timeout_s``.
        :raises NoEntry: if the daemon requires a key, or another one.
        """
        deadline = time.monotonic() + self._plan.timeout_s
        for link in self._links:
            if not link.connection.wait_connected(deadline):
                within = f"within {self._plan.timeout_s:g} s"
                raise NoAnswer(f"no answer from {self._address} {within}; is incv3d running there?")

    def close(self) -> None:
        """Close the connections and abandon what is in flight."""
        for link in self._links:
            link.connection.close()
        self._context.term()

    def __enter__(self) -> ZmqLoadSender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open_link(self) -> None:
        link = _Link(Connection(self._context, self._address, self._key))
        self._links.append(link)
        link.connection.register(self._poller)
        self._link_of[link.connection.socket] = self._link_of[link.connection.monitor] = link

    def _link_for(self, slot: int) -> _Link:
        if self._plan.rate:
            return self._links[slot % len(self._links)]
        return min(self._links, key=lambda link: (link.in_flight, link.taken))

    def _new_entry(self, number: int, slot: int, image: LoadImage, due: float) -> _LinkEntry:
        header = messages.Header(
            v=1,
            id=number,
            encoding=image.encoding or image_format(image.data) or "jpeg",
            width=image.width,
            height=image.height,
            ttl_ms=self._plan.ttl_ms,
        )
        link = self._link_for(slot)
        link.in_flight += 1
        link.taken += 1
        return _LinkEntry(image=image, due=due, link=link, header=header)

    def _transmit(self, number: int, entry: _LinkEntry) -> bool:
        entry.header.age_ms = age_since(entry.due)
        if not entry.link.connection.try_send([msgspec.json.encode(entry.header), entry.image.data]):
            return False
        entry.losses = entry.link.connection.losses
        return True

    def _release(self, entry: _LinkEntry) -> None:
        entry.link.in_flight -= 1

    def _read(self, until: float) -> Iterator[SendResult]:
        left_s = until - time.monotonic()
        if 0 < left_s <= 0.001:
            time.sleep(min(left_s, NAP_S))
        # Rounded down: the rest is spent sleeping.
        ready = self._poller.poll(0 if left_s <= 0.001 else int(min(left_s * 1000, LONGEST_POLL_MS)))
        for link in dict.fromkeys(self._link_of[socket] for socket, _ in ready):
            yield from self._read_link(link)

    def _read_link(self, link: _Link) -> Iterator[SendResult]:
        losses = link.connection.losses
        while (data := link.connection.receive()) is not None:
            result = self._decode_answer(data)
            if result:
                yield result
        link.connection.look()
        if link.connection.losses > losses:
            for number, entry in list(self._in_flight.items()):
                lost = entry.link is link and entry.losses < link.connection.losses
                if lost and entry.resend_at is None:
                    yield from self._handle_timeout(number, entry)

    def _decode_answer(self, data: bytes) -> SendResult | None:
        try:
            answer = msgspec.json.decode(data, type=messages.Answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ClientError(f"{self._address}: its answer has an unknown format: {error}") from None
        number = answer.id
        if not isinstance(number, int) or number not in self._in_flight:
            return None  # it came too late and counts as unanswered
        return self._handle_answer(number, answer)

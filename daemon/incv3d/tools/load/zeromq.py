"""Load over several ZeroMQ connections, in one thread, as :mod:`incv3d.tools.load.sender` wants it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

import msgspec
import zmq

from incv3d.client.client import age_since
from incv3d.client.connection import LONGEST_POLL_MS, ClientError, Connection, NoAnswer
from incv3d.client.daemon_address import DOOR_PORT, connect_address
from incv3d.frames import picture_format
from incv3d.protocol import messages
from incv3d.protocol.curve_keys import ClientKey
from incv3d.tools.load.sender import InFlight, LoadImage, LoadSender, Outcome, Plan

NAP_S = 0.0002
"""ZeroMQ's poller counts milliseconds; the last one before a slot is slept through in such steps."""


@dataclass(slots=True, eq=False)
class _Line:
    """One connection, how many shots are under way on it, and how many it has taken."""

    connection: Connection
    under_way: int = 0
    taken: int = 0


@dataclass(slots=True, kw_only=True)
class _LineFlight(InFlight):
    """A shot on its connection."""

    line: _Line
    header: messages.Header
    losses: int = 0
    """The connection's when it was sent: when they have become more, its answer is lost."""


class ZmqLoadSender(LoadSender[_LineFlight]):
    """Several connections to one daemon, and what is under way on them.

    :param key: for a daemon that wants one.
    :raises ClientError: the address is none that ZeroMQ can connect to.
    """

    def __init__(self, address: str, plan: Plan, key: ClientKey | None = None) -> None:
        super().__init__(plan)
        self._address = connect_address(address, DOOR_PORT)
        self._key = key
        self._context = zmq.Context()
        self._poller = zmq.Poller()
        self._lines: list[_Line] = []
        self._line_of: dict[object, _Line] = {}
        try:
            for _ in range(plan.connections):
                self._open_line()
        except ClientError:
            self.close()
            raise

    def connect(self) -> None:
        """Wait until every connection stands, so that the first round trips do not count the connecting.

        :raises NoAnswer: one does not within the plan's ``timeout_s``.
        :raises NoEntry: the daemon wants a key, or another one.
        """
        deadline = time.monotonic() + self._plan.timeout_s
        for line in self._lines:
            if not line.connection.wait_connected(deadline):
                within = f"within {self._plan.timeout_s:g} s"
                raise NoAnswer(f"no answer from {self._address} {within}; is incv3d running there?")

    def close(self) -> None:
        """Let go of the connections and of what is under way."""
        for line in self._lines:
            line.connection.close()
        self._context.term()

    def __enter__(self) -> ZmqLoadSender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open_line(self) -> None:
        line = _Line(Connection(self._context, self._address, self._key))
        self._lines.append(line)
        line.connection.register(self._poller)
        self._line_of[line.connection.socket] = self._line_of[line.connection.monitor] = line

    def _line_for(self, slot: int) -> _Line:
        if self._plan.rate:
            return self._lines[slot % len(self._lines)]
        return min(self._lines, key=lambda line: (line.under_way, line.taken))

    def _flight(self, number: int, slot: int, shot: LoadImage, due: float) -> _LineFlight:
        header = messages.Header(
            v=1,
            id=number,
            encoding=shot.encoding or picture_format(shot.data) or "jpeg",
            width=shot.width,
            height=shot.height,
            ttl_ms=self._plan.ttl_ms,
        )
        line = self._line_for(slot)
        line.under_way += 1
        line.taken += 1
        return _LineFlight(shot=shot, due=due, line=line, header=header)

    def _carry(self, number: int, flight: _LineFlight) -> bool:
        flight.header.age_ms = age_since(flight.due)
        if not flight.line.connection.try_send([msgspec.json.encode(flight.header), flight.shot.data]):
            return False
        flight.losses = flight.line.connection.losses
        return True

    def _let_go(self, flight: _LineFlight) -> None:
        flight.line.under_way -= 1

    def _read(self, until: float) -> Iterator[Outcome]:
        left_s = until - time.monotonic()
        if 0 < left_s <= 0.001:
            time.sleep(min(left_s, NAP_S))
        # Rounded down, for what is left to be slept through.
        ready = self._poller.poll(0 if left_s <= 0.001 else int(min(left_s * 1000, LONGEST_POLL_MS)))
        for line in dict.fromkeys(self._line_of[socket] for socket, _ in ready):
            yield from self._read_line(line)

    def _read_line(self, line: _Line) -> Iterator[Outcome]:
        losses = line.connection.losses
        while (data := line.connection.receive()) is not None:
            outcome = self._take_answer(data)
            if outcome:
                yield outcome
        line.connection.look()
        if line.connection.losses > losses:
            for number, flight in list(self._flights.items()):
                lost = flight.line is line and flight.losses < line.connection.losses
                if lost and flight.resend_at is None:
                    yield from self._unanswered(number, flight)

    def _take_answer(self, data: bytes) -> Outcome | None:
        try:
            answer = msgspec.json.decode(data, type=messages.Answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ClientError(f"{self._address}: an answer of another wire format: {error}") from None
        number = answer.id
        if not isinstance(number, int) or number not in self._flights:
            return None  # it came after its time, and counts as unanswered
        return self._take(number, answer)

"""Sends pictures to a daemon over several connections, in a closed loop or on a schedule. One thread.

*Closed loop*: a new picture goes out when an answer came in, so that a fixed number is under way. This finds
the capacity, but a slow daemon slows its own measurement: the requests that would have met the slowness are
never made ("coordinated omission").

*Open loop*: picture ``i`` is due at ``start + i / rate``, whatever the daemon does, and its round trip counts
from the moment at which it was due, not from the one at which it got away. What cannot be sent in its slot,
because too many are under way already, is not made up for later: the slot is lost, and counted.
"""

from __future__ import annotations

import heapq
import itertools
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType

import msgspec
import zmq

from incv3d import wire
from incv3d.client import back_off_s
from incv3d.connection import LONGEST_POLL_MS, ClientError, Connection, NoAnswer
from incv3d.frames import Encoding, Refusal, picture_format
from incv3d.keyfiles import ClientKey

NAP_S = 0.0002
"""ZeroMQ's poller counts milliseconds; the last one before a slot is slept through in such steps."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture to send, and what to call it."""

    name: str
    data: bytes
    encoding: Encoding | None = None
    """None: an encoded picture whose format its first bytes tell."""
    width: int | None = None
    """Pixels a row; raw encodings only."""
    height: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """How shots are sent.

    ``limit`` is how many are under way at once, on all connections together: as many as that in a closed
    loop, at most so many in an open one.
    """

    connections: int = 1
    limit: int = 1
    rate: float | None = None
    """Shots a second, in an open loop; None: a closed loop."""
    duration_s: float | None = None
    """Nothing is sent after so long; None: until the shots are used up."""
    timeout_s: float = 30.0
    """How long each try may take."""
    retries: int = 0
    """So many times a shot without an answer is sent again."""
    wait_if_busy: bool = False
    """Whether a shot that was answered ``busy`` is sent again, as long as ``timeout_s`` lasts."""
    ttl_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one shot."""

    name: str
    answer: wire.Answer | None
    """None: there was none."""
    round_trip_ms: float
    """From the moment at which the shot was due (closed loop: sent for the first time)."""
    lost_slot: bool = False
    """The shot was never sent."""

    @property
    def kind(self) -> str:
        """``ok``, the code of the refusal, ``no_answer`` or ``not_sent``."""
        if self.answer is None:
            return "not_sent" if self.lost_slot else "no_answer"
        return self.answer.code.value if self.answer.code else "ok"


@dataclass(slots=True, eq=False)
class _Line:
    """One connection, and how many shots are under way on it."""

    connection: Connection
    under_way: int = 0


@dataclass(slots=True)
class _Flight:
    """A shot that is under way, or waits to be sent again."""

    shot: Shot
    line: _Line
    parts: list[bytes]
    due: float
    deadline: float = 0.0
    """When this try has taken too long."""
    tries: int = 0
    refused: int = 0
    losses: int = 0
    """The connection's when it was sent: when they have become more, its answer is lost."""
    resend_at: float | None = None


class LoadGenerator:
    """Several connections to one daemon, and what is under way on them.

    :param key: for a daemon that wants one.
    :raises ClientError: the address is none that ZeroMQ can connect to.
    """

    def __init__(self, address: str, plan: Plan, key: ClientKey | None = None) -> None:
        self._address = address
        self._key = key
        self._plan = plan
        self._context = zmq.Context()
        self._poller = zmq.Poller()
        self._lines: list[_Line] = []
        self._line_of: dict[object, _Line] = {}
        self._flights: dict[int, _Flight] = {}
        self._timers: list[tuple[float, int]] = []  # when to look at a flight again: too late, or due again
        self._numbers = itertools.count(1)
        try:
            for _ in range(plan.connections):
                self._open_line()
        except ClientError:
            self.close()
            raise

    @property
    def under_way(self) -> int:
        """Shots whose outcome is not known yet."""
        return len(self._flights)

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

    def shoot(self, shots: Iterable[Shot]) -> Iterator[Outcome]:
        """Send every shot and yield every outcome, in the order in which they become known.

        Round trips are taken when an answer is read: a loop that is slow with its outcomes makes them longer.

        :raises NoEntry: the daemon does not take the key any more.
        """
        started = time.monotonic()
        end = started + (self._plan.duration_s or math.inf)
        rest = iter(shots)
        shot = next(rest, None)
        slot = 0
        while True:
            now = time.monotonic()
            yield from self._fire_timers(now)
            if now >= end:
                shot = None
            if not shot and not self._flights:
                return
            due = started + slot / self._plan.rate if self._plan.rate else now
            full = len(self._flights) >= self._plan.limit
            if shot and due <= now and not (full and not self._plan.rate):
                if full or not self._launch(shot, self._line_for(slot), due):
                    yield Outcome(shot.name, None, 0.0, lost_slot=True)
                slot += 1
                shot = next(rest, None)
                # Whoever is behind schedule looks for answers all the same.
                until = now
            elif shot and not full:
                until = min(due, end, self._next_timer())
            else:
                until = min(self._next_timer(), due if shot and self._plan.rate else math.inf)
            yield from self._read(until)

    def close(self) -> None:
        """Let go of the connections and of what is under way."""
        for line in self._lines:
            line.connection.close()
        self._context.term()

    def __enter__(self) -> LoadGenerator:
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
        return min(self._lines, key=lambda line: line.under_way)

    def _launch(self, shot: Shot, line: _Line, due: float) -> bool:
        number = next(self._numbers)
        header = wire.Header(
            v=1,
            id=number,
            encoding=shot.encoding or picture_format(shot.data) or "jpeg",
            width=shot.width,
            height=shot.height,
            captured_at=time.time(),
            ttl_ms=self._plan.ttl_ms,
        )
        flight = _Flight(shot, line, [msgspec.json.encode(header), shot.data], due)
        if not self._send(number, flight):
            return False
        self._flights[number] = flight
        line.under_way += 1
        return True

    def _send(self, number: int, flight: _Flight) -> bool:
        if not flight.line.connection.try_send(flight.parts):
            return False
        flight.deadline = time.monotonic() + self._plan.timeout_s
        flight.losses = flight.line.connection.losses
        flight.tries += 1
        flight.resend_at = None
        heapq.heappush(self._timers, (flight.deadline, number))
        return True

    def _next_timer(self) -> float:
        return self._timers[0][0] if self._timers else math.inf

    def _fire_timers(self, now: float) -> Iterator[Outcome]:
        while self._timers and self._timers[0][0] <= now:
            _, number = heapq.heappop(self._timers)
            flight = self._flights.get(number)
            if flight is None:
                continue
            if flight.resend_at is not None:
                if flight.resend_at <= now and not self._send(number, flight):
                    yield self._land(number, None)
            elif flight.deadline <= now:
                yield from self._unanswered(number, flight)

    def _unanswered(self, number: int, flight: _Flight) -> Iterator[Outcome]:
        if flight.tries <= self._plan.retries:
            self._resend_in(back_off_s(flight.tries - 1), number, flight)
        else:
            yield self._land(number, None)

    def _resend_in(self, pause_s: float, number: int, flight: _Flight) -> None:
        flight.resend_at = time.monotonic() + pause_s
        heapq.heappush(self._timers, (flight.resend_at, number))

    def _land(self, number: int, answer: wire.Answer | None) -> Outcome:
        flight = self._flights.pop(number)
        flight.line.under_way -= 1
        return Outcome(flight.shot.name, answer, (time.monotonic() - flight.due) * 1000)

    def _read(self, until: float) -> Iterator[Outcome]:
        """What arrives up to `until` (monotonic); returns at the first that does."""
        left_s = until - time.monotonic()
        if 0 < left_s <= 0.001:
            time.sleep(min(left_s, NAP_S))
        # Rounded down, for what is left to be slept through.
        ready = self._poller.poll(0 if left_s <= 0.001 else int(min(left_s * 1000, LONGEST_POLL_MS)))
        for line in dict.fromkeys(self._line_of[socket] for socket, _ in ready):
            yield from self._read_line(line)

    def _read_line(self, line: _Line) -> Iterator[Outcome]:
        losses = line.connection.losses
        line.connection.look()
        while (data := line.connection.receive()) is not None:
            outcome = self._take(data)
            if outcome:
                yield outcome
        if line.connection.losses > losses:
            for number, flight in list(self._flights.items()):
                lost = flight.line is line and flight.losses < line.connection.losses
                if lost and flight.resend_at is None:
                    yield from self._unanswered(number, flight)

    def _take(self, data: bytes) -> Outcome | None:
        try:
            answer = msgspec.json.decode(data, type=wire.Answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ClientError(f"{self._address}: an answer of another wire format: {error}") from None
        number = answer.id
        flight = self._flights.get(number) if isinstance(number, int) else None
        if not isinstance(number, int) or flight is None:
            return None  # it came after its time, and counts as unanswered
        if answer.code is Refusal.BUSY and self._plan.wait_if_busy:
            pause_s = answer.retry_ms / 1000 if answer.retry_ms else back_off_s(flight.refused)
            if time.monotonic() + pause_s < flight.deadline:
                flight.refused += 1
                self._resend_in(pause_s, number, flight)
                return None
        return self._land(number, answer)

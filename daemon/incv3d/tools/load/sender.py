"""How pictures are sent as a load: in a closed loop or on a schedule, whatever carries them. One thread.

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
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from incv3d.client.client import back_off_s
from incv3d.frames import Encoding, Refusal
from incv3d.protocol import messages


@dataclass(frozen=True, slots=True)
class LoadImage:
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
    """So many times a shot is sent again that has no answer, or the one that the daemon is stopping."""
    wait_if_busy: bool = False
    """Whether a shot that was answered ``busy`` is sent again, as long as ``timeout_s`` lasts."""
    ttl_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one shot."""

    name: str
    answer: messages.Answer | None
    """None: there was none."""
    round_trip_ms: float
    """From the moment at which the shot was due (closed loop: sent for the first time)."""
    lost_slot: bool = False
    """The shot was never sent."""
    by: str = ""
    """The daemon that answered, where there are several."""

    @property
    def kind(self) -> str:
        """``ok``, the code of the refusal, ``no_answer`` or ``not_sent``."""
        if self.answer is None:
            return "not_sent" if self.lost_slot else "no_answer"
        return self.answer.code.value if self.answer.code else "ok"


@dataclass(slots=True, kw_only=True)
class InFlight:
    """A shot that is under way, or waits to be sent again."""

    shot: LoadImage
    due: float
    deadline: float = 0.0
    """When this try has taken too long; 0: it is still to be made."""
    unanswered: int = 0
    refused: int = 0
    resend_at: float | None = None


AnyFlight = TypeVar("AnyFlight", bound=InFlight)


class LoadSender(ABC, Generic[AnyFlight]):
    """Sends shots as a plan says, and yields what became of them. A subclass knows what carries them."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.duplicates = 0
        """Further answers to shots that had one."""
        self._flights: dict[int, AnyFlight] = {}
        self._timers: list[tuple[float, int]] = []  # when to look at a flight again: too late, or due again
        self._numbers = itertools.count(1)

    @property
    def under_way(self) -> int:
        """Shots whose outcome is not known yet."""
        return len(self._flights)

    def shoot(self, shots: Iterable[LoadImage]) -> Iterator[Outcome]:
        """Send every shot and yield every outcome, in the order in which they become known.

        Round trips are taken when an answer is read: a loop that is slow with its outcomes makes them longer.

        :raises ClientError: the other end does not take part any more.
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
                if full or not self._launch(shot, slot, due):
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

    @abstractmethod
    def _flight(self, number: int, slot: int, shot: LoadImage, due: float) -> AnyFlight:
        """A new one, not under way yet; `slot` counts shots."""

    @abstractmethod
    def _carry(self, number: int, flight: AnyFlight) -> bool:
        """Send a flight off; False when it cannot be taken now."""

    @abstractmethod
    def _read(self, until: float) -> Iterator[Outcome]:
        """What arrives up to `until` (monotonic); returns at the first that does."""

    def _launch(self, shot: LoadImage, slot: int, due: float) -> bool:
        number = next(self._numbers)
        flight = self._flight(number, slot, shot, due)
        self._flights[number] = flight
        if not self._send(number, flight):
            self._let_go(self._flights.pop(number))
            return False
        return True

    def _send(self, number: int, flight: AnyFlight) -> bool:
        if not self._carry(number, flight):
            return False
        # Who was busy and is asked again gets no more time for it.
        flight.deadline = flight.deadline or time.monotonic() + self._plan.timeout_s
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

    def _unanswered(self, number: int, flight: AnyFlight) -> Iterator[Outcome]:
        flight.unanswered += 1
        if flight.unanswered <= self._plan.retries:
            flight.deadline = 0.0
            self._resend_in(back_off_s(flight.unanswered - 1), number, flight)
        else:
            yield self._land(number, None)

    def _resend_in(self, pause_s: float, number: int, flight: AnyFlight) -> None:
        flight.resend_at = time.monotonic() + pause_s
        heapq.heappush(self._timers, (flight.resend_at, number))

    def _land(self, number: int, answer: messages.Answer | None, by: str = "") -> Outcome:
        flight = self._flights.pop(number)
        self._let_go(flight)
        return Outcome(flight.shot.name, answer, (time.monotonic() - flight.due) * 1000, by=by)

    def _let_go(self, flight: AnyFlight) -> None:
        """A flight is under way no more."""

    def _take(self, number: int, answer: messages.Answer, by: str = "") -> Outcome | None:
        """An answer to a flight; None: it is sent again."""
        flight = self._flights[number]
        if answer.code is Refusal.SHUTTING_DOWN and flight.unanswered < self._plan.retries:
            flight.unanswered += 1
            flight.deadline = 0.0
            self._resend_in(back_off_s(flight.unanswered - 1), number, flight)
            return None
        if answer.code is Refusal.BUSY and self._plan.wait_if_busy:
            pause_s = answer.retry_ms / 1000 if answer.retry_ms else back_off_s(flight.refused)
            if time.monotonic() + pause_s < flight.deadline:
                flight.refused += 1
                self._resend_in(pause_s, number, flight)
                return None
        return self._land(number, answer, by)

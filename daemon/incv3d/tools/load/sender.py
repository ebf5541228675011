"""Send images as load, in a closed loop or on a schedule, over any transport. Uses one thread.

*Closed loop*: each answer triggers the next image, so that a fixed number is in flight. This finds the
capacity, but a slow daemon also slows its own measurement: the requests that would have been delayed are
never sent ("coordinated omission").

*Open loop*: image ``i`` is due at ``start + i / rate``, regardless of the daemon, and its round trip counts
from the time it was due, not from the time it was sent. An image that cannot be sent when it is due, because
too many are in flight, is not sent later: the slot is lost, and counted.
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

from incv3d.client.client import retry_pause_s
from incv3d.frames import Encoding, Refusal
from incv3d.protocol import messages


@dataclass(frozen=True, slots=True)
class LoadImage:
    """An image to send, and its name."""

    name: str
    data: bytes
    encoding: Encoding | None = None
    """None: an encoded image whose first bytes tell its format."""
    width: int | None = None
    """Pixels per row; raw encodings only."""
    height: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """How images are sent.

    ``limit`` is the number in flight on all connections together; in an open loop, the maximum.
    """

    connections: int = 1
    limit: int = 1
    rate: float | None = None
    """Images per second in an open loop; None: a closed loop."""
    duration_s: float | None = None
    """When to stop sending; None: after the last image."""
    timeout_s: float = 30.0
    """Timeout for each try."""
    retries: int = 0
    """How often to resend an image that is unanswered, or answered by a daemon that is stopping."""
    wait_if_busy: bool = False
    """Whether to resend an image answered ``busy``, within ``timeout_s``."""
    ttl_ms: float | None = None


@dataclass(frozen=True, slots=True)
class SendResult:
    """The result of sending one image."""

    name: str
    answer: messages.Answer | None
    """None: unanswered, or not sent."""
    round_trip_ms: float
    """From the time it was due (closed loop: first sent)."""
    lost_slot: bool = False
    """Whether it was never sent."""
    by: str = ""
    """The daemon that answered, in a fleet."""

    @property
    def kind(self) -> str:
        """``ok``, an error code, ``no_answer`` or ``not_sent``."""
        if self.answer is None:
            return "not_sent" if self.lost_slot else "no_answer"
        return self.answer.code.value if self.answer.code else "ok"


@dataclass(slots=True, kw_only=True)
class InFlight:
    """An image that was sent, or waits to be sent again."""

    image: LoadImage
    due: float
    deadline: float = 0.0
    """When this try times out; 0: it has not been sent."""
    unanswered: int = 0
    refused: int = 0
    resend_at: float | None = None


AnyEntry = TypeVar("AnyEntry", bound=InFlight)


class LoadSender(ABC, Generic[AnyEntry]):
    """Sends images according to a plan and yields the outcomes. Subclasses implement a transport."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.duplicates = 0
        """Second answers to the same image."""
        self._in_flight: dict[int, AnyEntry] = {}
        self._timers: list[tuple[float, int]] = []  # when an image times out or is sent again
        self._numbers = itertools.count(1)

    @property
    def in_flight(self) -> int:
        """Images whose result is not known yet."""
        return len(self._in_flight)

    def send_all(self, images: Iterable[LoadImage]) -> Iterator[SendResult]:
        """Send every image and yield every result, in the order in which they become known.

        A round trip ends when its answer is read: a caller that handles outcomes slowly makes them longer.

        :raises ClientError: if the other end rejects the connection or does not speak the protocol.
        """
        started = time.monotonic()
        end = started + (self._plan.duration_s or math.inf)
        rest = iter(images)
        image = next(rest, None)
        slot = 0
        while True:
            now = time.monotonic()
            yield from self._fire_timers(now)
            due = started + slot / self._plan.rate if self._plan.rate else now
            is_over = now >= end
            if is_over and due >= end:
                image = None
            if not image and not self._in_flight:
                return
            full = len(self._in_flight) >= self._plan.limit
            if image and due <= now and not (full and not self._plan.rate):
                # A slot that was due before the end counts, even if this machine was too slow to use it.
                if is_over or full or not self._send_first(image, slot, due):
                    yield SendResult(image.name, None, 0.0, lost_slot=True)
                slot += 1
                image = next(rest, None)
                # Read answers even when behind schedule.
                until = now
            elif image and not full:
                until = min(due, end, self._next_timer())
            else:
                until = min(self._next_timer(), due if image and self._plan.rate else math.inf)
            yield from self._read(until)

    @abstractmethod
    def _new_entry(self, number: int, slot: int, image: LoadImage, due: float) -> AnyEntry:
        """Return a new entry that has not been sent yet; `slot` counts the images."""

    @abstractmethod
    def _transmit(self, number: int, entry: AnyEntry) -> bool:
        """Send an image; return False if the transport cannot take it now."""

    @abstractmethod
    def _read(self, until: float) -> Iterator[SendResult]:
        """Wait until `until` (monotonic) for answers; return after the first."""

    def _send_first(self, image: LoadImage, slot: int, due: float) -> bool:
        number = next(self._numbers)
        entry = self._new_entry(number, slot, image, due)
        self._in_flight[number] = entry
        if not self._send(number, entry):
            self._release(self._in_flight.pop(number))
            return False
        return True

    def _send(self, number: int, entry: AnyEntry) -> bool:
        if not self._transmit(number, entry):
            return False
        # A resend after `busy` does not extend the deadline.
        entry.deadline = entry.deadline or time.monotonic() + self._plan.timeout_s
        entry.resend_at = None
        heapq.heappush(self._timers, (entry.deadline, number))
        return True

    def _next_timer(self) -> float:
        return self._timers[0][0] if self._timers else math.inf

    def _fire_timers(self, now: float) -> Iterator[SendResult]:
        while self._timers and self._timers[0][0] <= now:
            _, number = heapq.heappop(self._timers)
            entry = self._in_flight.get(number)
            if entry is None:
                continue
            if entry.resend_at is not None:
                if entry.resend_at <= now and not self._send(number, entry):
                    yield self._finish(number, None)
            elif entry.deadline <= now:
                yield from self._handle_timeout(number, entry)

    def _handle_timeout(self, number: int, entry: AnyEntry) -> Iterator[SendResult]:
        entry.unanswered += 1
        if entry.unanswered <= self._plan.retries:
            entry.deadline = 0.0
            self._resend_in(retry_pause_s(entry.unanswered - 1), number, entry)
        else:
            yield self._finish(number, None)

    def _resend_in(self, pause_s: float, number: int, entry: AnyEntry) -> None:
        entry.resend_at = time.monotonic() + pause_s
        heapq.heappush(self._timers, (entry.resend_at, number))

    def _finish(self, number: int, answer: messages.Answer | None, by: str = "") -> SendResult:
        entry = self._in_flight.pop(number)
        self._release(entry)
        return SendResult(entry.image.name, answer, (time.monotonic() - entry.due) * 1000, by=by)

    def _release(self, entry: AnyEntry) -> None:
        """Release what the transport holds for an image that is no longer in flight."""

    def _handle_answer(self, number: int, answer: messages.Answer, by: str = "") -> SendResult | None:
        """Handle an answer; return None if the image will be sent again."""
        entry = self._in_flight[number]
        if answer.code is Refusal.SHUTTING_DOWN and entry.unanswered < self._plan.retries:
            entry.unanswered += 1
            entry.deadline = 0.0
            self._resend_in(retry_pause_s(entry.unanswered - 1), number, entry)
            return None
        if answer.code is Refusal.BUSY and self._plan.wait_if_busy:
            pause_s = answer.retry_ms / 1000 if answer.retry_ms else retry_pause_s(entry.refused)
            if time.monotonic() + pause_s < entry.deadline:
                entry.refused += 1
                self._resend_in(pause_s, number, entry)
                return None
        return self._finish(number, answer, by)

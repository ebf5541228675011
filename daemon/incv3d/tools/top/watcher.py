"""Asks a daemon how it goes, again and again, and listens to its results: what there is to show."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec

from incv3d.client import Client, ClientError, NoAnswer, Published, results
from incv3d.latency.rolling import Spread

ANSWER_S = 2.0
"""How long an answer may take; the door answers at once, whatever the Session is at."""
SILENCE_S = 60.0
"""Without a result for so long, the subscription is made anew."""
RETRY_S = 2.0
RESULTS_KEPT = 100
RUNS_KEPT = 500


class MachineReadings(msgspec.Struct, frozen=True):
    """The machine's own readings."""

    temp_c: float | None = None
    throttled: int | None = None
    rss_mb: float | None = None


class Source(msgspec.Struct, frozen=True):
    """How the daemon's source is."""

    name: str = ""
    state: str = ""
    reason: str = ""
    since: str = ""
    """``2026-01-31T12:00:00Z``"""
    frames: int = 0
    lost_frames: int = 0
    recoveries: int = 0
    refused_frames: int = 0


class Window(msgspec.Struct, frozen=True):
    """The latest frames."""

    window_s: float = 0.0
    frames: int = 0
    fps: float = 0.0
    run: Spread | None = None
    queue: Spread | None = None
    decode: Spread | None = None
    total: Spread | None = None
    age: Spread | None = None
    dropped: int = 0
    busy: int = 0
    expired: int = 0
    errors: int = 0


class Peers(msgspec.Struct, frozen=True):
    """Who sends frames."""

    seen: int = 0


class Stats(msgspec.Struct, frozen=True):
    """The part of the answer to ``stats`` that is shown; what another version leaves out has its default."""

    state: str
    uptime_s: float
    health: str = "ok"
    model: str = ""
    engine: str = ""
    queue_depth: int = 0
    queue_limit: int = 0
    unanswered: int = 0
    undelivered: int = 0
    peers: Peers = Peers()
    outcomes: dict[str, int] = {}
    window: Window = Window()
    machine: MachineReadings = MachineReadings()
    source: Source | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """One result, and when it came (seconds since 1970)."""

    at_s: float
    published: Published


@dataclass(frozen=True, slots=True)
class View:
    """What is known of the daemon at one moment. Times are seconds since 1970."""

    address: str
    results_address: str
    """Empty: nobody knows where results are published."""
    stats: Stats | None = None
    stats_at_s: float = 0.0
    away_since_s: float | None = None
    """Since when it has not answered; None: it has answered the latest question."""
    trouble: str = ""
    """Why it has not, in one line."""
    deaf: str = ""
    """Why no results are heard."""
    restarts: int = 0
    """How often it was started anew while it was watched."""
    heard: tuple[Heard, ...] = ()
    """The latest first."""
    runs_ms: tuple[float, ...] = ()
    """The latest last."""


class DaemonWatcher:
    """Watches one daemon from two threads, through its restarts, until it is closed.

    :param results_address: as in the daemon's ``intake.publish``; empty: results are not listened to.
    :param interval_s: between two questions.
    :param key: the file that ``incv3d keys add`` made, for a daemon that wants one.
    :raises ClientError: `address` is none that ZeroMQ can connect to.
    :raises KeyFileError: the key cannot be used.
    """

    def __init__(
        self,
        address: str,
        results_address: str,
        interval_s: float = 1.0,
        *,
        key: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = Client(address, ANSWER_S, key=key)
        self._key = key
        self._results_address = results_address
        self._interval_s = interval_s
        self._clock = clock
        self._changed = threading.Condition()
        self._view = View(address, results_address)
        self._heard: deque[Heard] = deque(maxlen=RESULTS_KEPT)
        self._runs_ms: deque[float] = deque(maxlen=RUNS_KEPT)
        self._answered = 0.0
        self._closed = threading.Event()
        self._asker = threading.Thread(target=self._ask_again_and_again, name="ask", daemon=True)
        self._listener = threading.Thread(target=self._listen, name="listen", daemon=True)

    def start(self) -> None:
        """Begin to ask and to listen."""
        self._asker.start()
        if self._results_address:
            self._listener.start()

    def view(self) -> View:
        """What is known now."""
        with self._changed:
            return replace(self._view, heard=tuple(reversed(self._heard)), runs_ms=tuple(self._runs_ms))

    def wait_for(self, wanted: Callable[[View], bool], timeout_s: float) -> bool:
        """Whether what is known came to be as `wanted` in time."""
        with self._changed:
            return self._changed.wait_for(lambda: wanted(self.view()), timeout_s)

    def close(self) -> None:
        """Ask no more. The thread that listens ends with the next result, or with the process."""
        self._closed.set()
        if self._asker.ident:
            self._asker.join()
        self._client.close()

    def _ask_again_and_again(self) -> None:
        while not self._closed.is_set():
            asked_s, asked = self._clock(), time.monotonic()
            try:
                stats = msgspec.convert(self._client.ask("stats"), Stats)
            except ClientError as error:
                self._lose(asked_s, str(error))
            except msgspec.ValidationError as error:
                self._lose(asked_s, f"{self._view.address}: an answer of another version: {error}")
            else:
                self._learn(stats, asked)
            self._closed.wait(self._interval_s)

    def _learn(self, stats: Stats, asked: float) -> None:
        with self._changed:
            before = self._view.stats
            # Younger than the one before, or begun since that one's last answer.
            again = before is not None and (
                stats.uptime_s < before.uptime_s or asked - stats.uptime_s > self._answered
            )
            self._answered = time.monotonic()
            self._view = replace(
                self._view,
                stats=stats,
                stats_at_s=self._clock(),
                away_since_s=None,
                trouble="",
                restarts=self._view.restarts + again,
            )
            self._changed.notify_all()

    def _lose(self, asked_s: float, trouble: str) -> None:
        with self._changed:
            since_s = self._view.away_since_s or asked_s
            self._view = replace(self._view, away_since_s=since_s, trouble=trouble)
            self._changed.notify_all()

    def _listen(self) -> None:
        while not self._closed.is_set():
            try:
                for published in results(self._results_address, timeout_s=SILENCE_S, key=self._key):
                    if self._closed.is_set():
                        return
                    self._hear(published)
            except NoAnswer:
                continue
            except (ClientError, msgspec.MsgspecError, ValueError) as error:
                known = isinstance(error, ClientError)
                reason = str(error) if known else f"what is published there is not incv3d's: {error}"
                with self._changed:
                    self._view = replace(self._view, deaf=reason)
                self._closed.wait(RETRY_S)

    def _hear(self, published: Published) -> None:
        with self._changed:
            self._heard.append(Heard(self._clock(), published))
            if timing := published.answer.timing_ms:
                self._runs_ms.append(timing.run)
            self._view = replace(self._view, deaf="")
            self._changed.notify_all()

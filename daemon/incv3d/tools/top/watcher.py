"""Poll a daemon's statistics and subscribe to its results."""

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
"""Timeout for an answer; the server answers at once, even while the Session runs."""
SILENCE_S = 60.0
"""Subscribe again after this time without a result."""
RETRY_S = 2.0
RESULTS_KEPT = 100
RUNS_KEPT = 500


class MachineReadings(msgspec.Struct, frozen=True):
    """The sensors and memory of the daemon's machine."""

    temp_c: float | None = None
    throttled: int | None = None
    rss_mb: float | None = None


class Source(msgspec.Struct, frozen=True):
    """The state of one of the daemon's sources."""

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
    """Statistics of the latest frames."""

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
    """Clients that send frames."""

    seen: int = 0


class Stats(msgspec.Struct, frozen=True):
    """The part of the ``stats`` answer that is shown; defaults stand for what another version omits."""

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
    """The only one, in the answers of older versions."""
    sources: list[Source] = []


@dataclass(frozen=True, slots=True)
class ReceivedResult:
    """A result and the time of its arrival (seconds since 1970)."""

    at_s: float
    published: Published


@dataclass(frozen=True, slots=True)
class View:
    """What is known about the daemon at one moment. Times are seconds since 1970."""

    address: str
    results_address: str
    """Empty: unknown."""
    stats: Stats | None = None
    stats_at_s: float = 0.0
    away_since_s: float | None = None
    """Since when it has not answered; None: it answered the latest request."""
    error: str = ""
    """Why it has not answered, in one line."""
    results_error: str = ""
    """Why no results can be received."""
    restarts: int = 0
    """How often it restarted while it was watched."""
    received: tuple[ReceivedResult, ...] = ()
    """Newest first."""
    runs_ms: tuple[float, ...] = ()
    """Newest last."""


class DaemonWatcher:
    """Watches one daemon in two threads, across restarts, until it is closed.

    :param results_address: as in the daemon's ``intake.publish``; empty: do not subscribe.
    :param interval_s: seconds between two requests.
    :param key: the file from ``incv3d keys add``, for a daemon that requires one.
    :raises ClientError: if ZeroMQ cannot connect to `address`.
    :raises KeyFileError: if the key cannot be used.
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
        self._heard: deque[ReceivedResult] = deque(maxlen=RESULTS_KEPT)
        self._runs_ms: deque[float] = deque(maxlen=RUNS_KEPT)
        self._answered = 0.0
        self._closed = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="ask", daemon=True)
        self._listener = threading.Thread(target=self._listen, name="listen", daemon=True)

    def start(self) -> None:
        """Start both threads."""
        self._poller.start()
        if self._results_address:
            self._listener.start()

    def view(self) -> View:
        """Return what is known now."""
        with self._changed:
            return replace(self._view, received=tuple(reversed(self._heard)), runs_ms=tuple(self._runs_ms))

    def wait_for(self, wanted: Callable[[View], bool], timeout_s: float) -> bool:
        """Wait until the view fulfills `wanted`; return whether it did in time."""
        with self._changed:
            return self._changed.wait_for(lambda: wanted(self.view()), timeout_s)

    def close(self) -> None:
        """Stop polling. The listening thread ends with the next result, or with the process."""
        self._closed.set()
        if self._poller.ident:
            self._poller.join()
        self._client.close()

    def _poll(self) -> None:
        while not self._closed.is_set():
            asked_s, asked = self._clock(), time.monotonic()
            try:
                stats = msgspec.convert(self._client.ask("stats"), Stats)
            except ClientError as error:
                self._set_away(asked_s, str(error))
            except msgspec.ValidationError as error:
                self._set_away(
                    asked_s,
                    f"{self._view.address}: its answer has an unknown format, of another version: {error}",
                )
            else:
                self._set_stats(stats, asked)
            self._closed.wait(self._interval_s)

    def _set_stats(self, stats: Stats, asked: float) -> None:
        with self._changed:
            before = self._view.stats
            # It has been up for less time than before, or started after the previous answer.
            again = before is not None and (
                stats.uptime_s < before.uptime_s or asked - stats.uptime_s > self._answered
            )
            self._answered = time.monotonic()
            self._view = replace(
                self._view,
                stats=stats,
                stats_at_s=self._clock(),
                away_since_s=None,
                error="",
                restarts=self._view.restarts + again,
            )
            self._changed.notify_all()

    def _set_away(self, asked_s: float, error: str) -> None:
        with self._changed:
            since_s = self._view.away_since_s or asked_s
            self._view = replace(self._view, away_since_s=since_s, error=error)
            self._changed.notify_all()

    def _listen(self) -> None:
        while not self._closed.is_set():
            try:
                for published in results(self._results_address, timeout_s=SILENCE_S, key=self._key):
                    if self._closed.is_set():
                        return
                    self._receive(published)
            except NoAnswer:
                continue
            except (ClientError, msgspec.MsgspecError, ValueError) as error:
                known = isinstance(error, ClientError)
                reason = str(error) if known else f"the messages published there are not incv3d's: {error}"
                with self._changed:
                    self._view = replace(self._view, results_error=reason)
                self._closed.wait(RETRY_S)

    def _receive(self, published: Published) -> None:
        with self._changed:
            self._heard.append(ReceivedResult(self._clock(), published))
            if timing := published.answer.timing_ms:
                self._runs_ms.append(timing.run)
            self._view = replace(self._view, results_error="")
            self._changed.notify_all()

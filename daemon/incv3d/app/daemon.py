"""The daemon: puts the rooms together; start, warm, ready, drain, stop."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from incv3d.app.daemon_events import (
    DaemonEvent,
    Pause,
    QueueDrained,
    ReloadFinished,
    SessionReady,
    SourceEnded,
    ThreadDied,
)
from incv3d.app.dispatcher import ResultDispatcher
from incv3d.app.event_queue import EventQueue
from incv3d.app.health import FAILED, GROWN, MISTAKEN, Health
from incv3d.app.journal import set_level
from incv3d.app.reload import PendingReload, Reloader, describe_changes
from incv3d.app.status import info, standing, startup_fields, stats, status_line
from incv3d.app.systemd import SystemdNotifier
from incv3d.app.transports import DaemonQueries, Doors
from incv3d.app.watchdog import Watchdog
from incv3d.config.loading import LoadedConfig
from incv3d.config.reloading import FIXED_BY_TENSORFLOW
from incv3d.config.schema import Config, SourceSection
from incv3d.errors import Incv3dError
from incv3d.events.monitor import EventMonitor, create_event_monitor
from incv3d.events.watchlist import read_watchlist
from incv3d.frames import Frame, Refusal, Result
from incv3d.images.change_detector import ChangeDetector
from incv3d.images.decode_cost import is_large
from incv3d.images.demo import demo_folder
from incv3d.latency.log_writer import LatencyLog, start_line, summary_line
from incv3d.latency.rolling import DROPPED, SKIPPED, RollingLatency, Summary
from incv3d.machine import read_machine, trim_heap
from incv3d.models.store import ModelStore
from incv3d.pipeline.classifier import Classifier
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.pipeline.loader import LoadedModel, Loader, load_classifier, model_fetcher
from incv3d.pipeline.workers import Pipeline
from incv3d.protocol import messages
from incv3d.sources import source_opener
from incv3d.sources.manager import SourceManager
from incv3d.transports.daemon_status import DaemonStatus
from incv3d.transports.zeromq.key_store import KeyStore

LOG = logging.getLogger(__name__)
GIVE_BACK_EVERY_S = 30.0
"""How often freed memory goes back to the system: pictures of every size leave holes in the heap."""
EXTENSION_S = 60.0
"""While the model is loaded, systemd is told again and again to wait for so much longer ..."""
LOADING_S = 3600.0
"""... but not for ever: a Raspberry Pi 3 fetches and prepares Inception-v3 well within an hour."""
CLOSING_S = 10.0
"""How long closing may take beyond the time in which what is in flight is answered."""
PROBE_PICTURE = "cat.jpg"
STOPPING = "the daemon is stopping"
SAVING_S = 2.0
"""How long the last pictures of the old configuration may take to be written."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Daemon:
    """One daemon: :meth:`run` is its whole life.

    Every other thread, and the signal handlers, speak to it through one queue of events; it alone decides.

    :param log_path: the latency log.
    :param notifier: tells systemd how it goes.
    :param read: reads the configuration again, as it was read at the start.
    :param load: makes the classifier, in the thread that will run it.
    :param keys: whose clients alone are let in; None: whoever reaches the door is.
    :param environ: where the broker's password may be.
    """

    def __init__(
        self,
        config: Config,
        store: ModelStore,
        log_path: Path,
        notifier: SystemdNotifier,
        read: Callable[[], LoadedConfig],
        load: Loader = load_classifier,
        keys: KeyStore | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._config = config
        self._store = store
        self._load_classifier = load
        self._notifier = notifier
        self._started = time.monotonic()
        self._events: EventQueue[DaemonEvent] = EventQueue()
        self._loaded: LoadedModel | None = None
        self._state = "starting"
        section = config.latency
        self._next_line = self._started + section.interval_s
        self._latency = RollingLatency(section.window_s, section.window_frames, self._started)
        self._latency_log = LatencyLog(log_path, section.max_bytes, section.keep)
        door = config.intake
        self._frame_queue = FrameQueue(door.queue_limit, door.queue_bytes, door.peer_limit, is_large)
        self._watchdog = Watchdog(notifier, self._frame_queue, probe_picture)
        self._delivery = ResultDispatcher(self._latency)
        self._doors = Doors(
            config,
            environ,
            keys,
            self._frame_queue,
            self._delivery,
            DaemonQueries(self._describe, self._identity, self._standing, self._pace_ms),
            probe_picture,
            on_sent=self._watchdog.complete,
            on_pause=self._want_pause,
            on_death=self._died,
        )
        self._pipeline = Pipeline(
            self._frame_queue,
            self._load,
            self._delivery.deliver,
            on_ready=lambda: self._events.put(SessionReady()),
            on_drained=lambda: self._events.put(QueueDrained()),
            on_death=self._died,
            changes=change_test(config.source),
            on_skipped=self._skipped,
        )
        works = [self._doors.intake.work, *self._pipeline.activities]
        self._health = Health(config, works, lambda: self._pipeline.failures_in_a_row)
        self._captures = SourceManager(
            self._frame_queue,
            on_dropped=lambda: self._delivery.count(DROPPED),
            on_end=lambda name: self._events.put(SourceEnded(name)),
            on_death=self._died,
        )
        self._delivery.add(self._captures)
        self._reloader = Reloader(
            read, self._load_by, self._check, on_done=lambda reload: self._events.put(ReloadFinished(reload))
        )
        self._reload_wanted = self._reloading = False
        self._pause_wanted = self._pause_is_put = False
        self._fixed_keys: frozenset[str] = frozenset()
        """Keys of the configuration that take a restart in this process."""

    def run(self) -> int:
        """Start, serve until a signal or a death, stop; returns the exit status.

        Signals are handled until the return, so call it from the main thread. Threads that hang in a
        library may still be there afterwards: leave with ``os._exit``.

        :raises Incv3dError: when something that the daemon needs cannot be had.
        """
        with self._events.signals(*SIGNALS):
            self._start()
            return self._stop(self._main_loop())

    def _start(self) -> None:
        opener = source_opener(self._config.source)
        self._doors.open()
        self._captures.use(self._config.source, opener)
        self._pipeline.start()
        self._notifier.status("loading the model")

    def _main_loop(self) -> int:
        next_look = time.monotonic()
        next_give_back = next_look + GIVE_BACK_EVERY_S
        while True:
            event = self._events.get(min(self._next_line, next_look) - time.monotonic())
            match event:
                case None:
                    now = time.monotonic()
                    if now >= next_look:
                        next_look = now + self._health.interval_s
                        if status := self._health.look(self._state == "ready"):
                            return status
                        self._tell_systemd(now)
                        self._captures.say(now)
                        if announcer := self._delivery.announcer:
                            announcer.look()
                    if now >= next_give_back:
                        next_give_back = now + GIVE_BACK_EVERY_S
                        trim_heap()
                    if now >= self._next_line:
                        self._next_line = max(self._next_line + self._config.latency.interval_s, now)
                        if self._state == "ready":
                            self._write_line()
                case signal.SIGHUP:
                    self._latency_log.reopen()
                    self._doors.intake.reread_keys()
                    self._reload_wanted = True
                    self._begin_reload()
                case signal.Signals():
                    LOG.info("%s: stopping", event.name)
                    return 0
                case SessionReady():
                    self._be_ready()
                    self._begin_reload()
                case ReloadFinished(reload):
                    self._end_reload(reload)
                    self._begin_reload()
                case SourceEnded(name):
                    LOG.info("source %s has no more frames; the ZeroMQ door stays open", name)
                    if announcer := self._delivery.announcer:
                        announcer.end(name)
                case Pause():
                    self._pause()
                case ThreadDied(thread, error):
                    self._health.report_death(thread, error)
                    cannot_start = self._state == "starting" and is_lasting(error)
                    return MISTAKEN if cannot_start else FAILED

    def _tell_systemd(self, now: float) -> None:
        if self._state == "ready":
            self._watchdog.look()
        if self._reloading or (self._state != "ready" and now < self._started + LOADING_S):
            self._notifier.extend_timeout(EXTENSION_S)

    def _be_ready(self) -> None:
        assert self._loaded
        self._state = "ready"
        facts = self._loaded.facts
        self._latency_log.write(
            start_line(time.time(), "start", startup_fields(self._loaded, self._config.source))
        )
        self._captures.start()
        self._doors.ready()
        self._say_status(self._latency.summary(time.monotonic()))
        self._notifier.ready()
        LOG.info(
            "READY: %s on %s %s, %s, %d threads; requests at %s, results at %s, latency in %s",
            self._loaded.model,
            facts.engine,
            facts.version,
            facts.precision,
            facts.threads,
            self._config.intake.bind,
            self._config.intake.publish or "no address",
            self._latency_log.path,
        )

    def _begin_reload(self) -> None:
        """Read the configuration again, if that was asked for and its time has come."""
        if self._reload_wanted and not self._reloading and self._state == "ready":
            self._reload_wanted, self._reloading = False, True
            self._notifier.reloading()
            self._notifier.status("reading the configuration again")
            self._reloader.begin(self._config, self._fixed_keys)

    def _end_reload(self, reload: PendingReload | None) -> None:
        self._reloading = False
        if reload:
            self._apply(reload)
        self._say_status(self._latency.summary(time.monotonic()))
        self._notifier.ready()

    def _apply(self, reload: PendingReload) -> None:
        config = self._config = reload.changes.config
        if reload.loaded:
            self._loaded = reload.loaded
            self._pipeline.replace(reload.loaded.classifier)
            self._latency.restart(time.monotonic())
            self._latency_log.write(
                start_line(time.time(), "reload", startup_fields(reload.loaded, config.source))
            )
        if reload.loaded or reload.changes.source:
            self._pipeline.set_change_detector(change_test(config.source))
        if reload.changes.source or reload.changes.events or reload.loaded:
            self._replace_announcer()
        if reload.changes.source:
            self._captures.replace(config.source, reload.open_source, self._doors.forget_sources)
        self._health.adjust(config)
        door = config.intake
        self._frame_queue.set_limits(door.queue_limit, door.queue_bytes, door.peer_limit)
        self._doors.adjust(config)
        self._next_line = min(self._next_line, time.monotonic() + config.latency.interval_s)
        self._latency.resize(config.latency.window_s, config.latency.window_frames)
        self._latency_log.resize(config.latency.max_bytes, config.latency.keep)
        set_level(config.daemon.log_level)
        for key, value in describe_changes(reload.changes).items():
            LOG.info("configuration: %s is now %r", key, value)

    def _check(self, config: Config, loaded: LoadedModel | None) -> None:
        """Raise ConfigError if the model has not the labels that `config` names."""
        loaded = loaded or self._loaded
        if config.events.enabled and loaded:
            read_watchlist(config.events, loaded.classifier.labels, loaded.model)

    def _replace_announcer(self) -> None:
        assert self._loaded
        old, self._delivery.announcer = self._delivery.announcer, None
        if old:
            old.stop("reloaded")
            old.close(SAVING_S)
        self._delivery.announcer = self._open_announcer(self._loaded)

    def _stop(self, status: int) -> int:
        """Take no more frames, answer what is in flight, refuse what waits, write the last line."""
        was_ready = self._state == "ready"
        self._state = "stopping"
        self._notifier.stopping()
        self._notifier.extend_timeout(self._config.daemon.grace_s + CLOSING_S)
        self._notifier.status("stopping: answering what is in flight")
        deadline = time.monotonic() + self._config.daemon.grace_s
        self._captures.close()
        self._doors.stopping()
        for frame in self._frame_queue.close():
            self._delivery.deliver(Result.refused(frame, Refusal.SHUTTING_DOWN, STOPPING))
        # A Session that is still loading has nothing in flight, and one that died has nothing to wait for.
        orderly = status in (0, GROWN)
        if was_ready and orderly and not self._wait_until_drained(deadline):
            LOG.warning("not everything in flight could be answered within %g s", self._config.daemon.grace_s)
        announcer = self._delivery.announcer
        if announcer:
            announcer.stop()
        last_words = (
            (Refusal.SHUTTING_DOWN, STOPPING) if orderly else (Refusal.INTERNAL, self._health.ailment)
        )
        self._doors.close(deadline, *last_words)
        if announcer:
            announcer.close(max(1.0, deadline - time.monotonic()))
        if was_ready:
            self._write_line()
        self._latency_log.flush()
        self._latency_log.close()
        return status

    def _wait_until_drained(self, deadline: float) -> bool:
        while True:
            match self._events.get(deadline - time.monotonic()):
                case None:
                    return False
                case QueueDrained():
                    return True
                case ThreadDied(thread, error):
                    self._health.report_death(thread, error)
                    return False
                case signal.SIGINT:
                    LOG.info("SIGINT again: leaving at once")
                    return False

    def _load(self) -> Classifier:
        loaded = self._load_by(self._config)
        self._delivery.announcer = self._open_announcer(loaded)
        self._loaded = loaded
        return loaded.classifier

    def _open_announcer(self, loaded: LoadedModel) -> EventMonitor | None:
        labels, model = loaded.classifier.labels, loaded.model
        return create_event_monitor(self._config, labels, model, self._delivery.announce, self._died)

    def _load_by(self, config: Config) -> LoadedModel:
        fetch = model_fetcher(config, self._store, LOG.info)
        loaded = self._load_classifier(config, self._store, config.session.warmup_runs, fetch=fetch)
        if loaded.facts.engine == "tensorflow":
            self._fixed_keys = FIXED_BY_TENSORFLOW
        return loaded

    def _want_pause(self, wanted: bool) -> None:
        """Pause or resume; of many wishes that come before the main thread gets to them, the last counts."""
        self._pause_wanted = wanted
        if not self._pause_is_put:
            self._pause_is_put = True
            self._events.put(Pause())

    def _pause(self) -> None:
        self._pause_is_put = False  # before the wish is read: a later one is put again
        wanted = self._pause_wanted
        self._captures.pause(wanted)
        self._doors.paused(wanted)

    def _skipped(self, frame: Frame) -> None:
        self._delivery.count(SKIPPED)
        self._captures.accept(frame)

    def _died(self, thread: str, error: BaseException) -> None:
        self._events.put(ThreadDied(thread, error))

    def _write_line(self) -> None:
        summary = self._latency.summary(time.monotonic())
        self._latency_log.write(summary_line(time.time(), summary, read_machine()))
        self._say_status(summary)

    def _say_status(self, summary: Summary) -> None:
        assert self._loaded
        self._notifier.status(status_line(self._loaded, summary, self._captures.status()))

    def _identity(self) -> tuple[str, str]:
        return (self._loaded.model, self._loaded.facts.engine) if self._loaded else ("", "")

    def _pace_ms(self) -> float | None:
        """How long it takes from one result to the next while frames wait."""
        if self._loaded is None:
            return None
        if latest := self._latency.latest_run_ms():
            return latest / self._loaded.classifier.runs_at_once
        return self._loaded.warmup.runs_ms[-1] if self._loaded.warmup.runs_ms else None

    def _standing(self) -> DaemonStatus:
        sources = self._captures.status()
        return standing(self._state, self._health, self._loaded, self._doors.intake, sources)

    def _describe(self, operation: messages.Operation) -> dict[str, Any]:
        """What ``ping``, ``stats`` and ``info`` answer."""
        match operation:
            case "ping":
                return {"state": self._state}
            case "info":
                return {"state": self._state, **info(self._loaded, self._config.source)}
            case "stats":
                sources = self._captures.status()
                announcer = self._delivery.announcer
                return {
                    "state": self._state,
                    "health": str(self._health),
                    "paused": self._captures.paused,
                    **stats(self._started, self._loaded, self._doors.intake, self._latency, sources),
                    **(announcer.status() if announcer else {}),
                    **self._doors.status(),
                }


def is_lasting(error: BaseException) -> bool:
    """Whether only a person can remove the cause of `error`."""
    return isinstance(error, Incv3dError) and error.is_lasting


def probe_picture() -> bytes:
    """What the watchdog has classified when nobody else asks: one of the bundled photographs."""
    return (demo_folder() / PROBE_PICTURE).read_bytes()


def change_test(source: SourceSection) -> ChangeDetector | None:
    """What tells frames of `source` in which nothing moved; None: they are classified too."""
    return ChangeDetector(source.change_threshold, source.unchanged_max_s) if source.skip_unchanged else None

"""The daemon: start, warm up, serve, reload, drain, stop."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from incv3d.app.current_model import CurrentModel
from incv3d.app.daemon_events import (
    DaemonEvent,
    Pause,
    QueueDrained,
    ReloadFinished,
    SessionReady,
    SourceEnded,
    Taught,
    ThreadDied,
)
from incv3d.app.dispatcher import ResultDispatcher
from incv3d.app.draining import wait_until_drained
from incv3d.app.event_listeners import create_event_listeners
from incv3d.app.event_queue import EventQueue
from incv3d.app.health import EXIT_FAILED, EXIT_MEMORY, EXIT_SETTING, Health
from incv3d.app.journal import set_level
from incv3d.app.pause import PauseRequest
from incv3d.app.queries import Queries
from incv3d.app.reload import PendingReload, Reloader, describe_changes
from incv3d.app.reporter import Reporter
from incv3d.app.state import DaemonState
from incv3d.app.systemd import SystemdNotifier
from incv3d.app.transports import Transports
from incv3d.app.tuner import Tuner
from incv3d.app.tuning_conversion import ConversionOutcome
from incv3d.app.watchdog import Watchdog
from incv3d.config.loading import LoadedConfig
from incv3d.config.paths import state_directory
from incv3d.errors import Incv3dError
from incv3d.frames import Frame, Refusal, Result
from incv3d.images.change_detector import create_change_detector
from incv3d.images.decode_cost import is_large
from incv3d.latency.rolling import DROPPED, RollingLatency
from incv3d.models.store import ModelStore
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.pipeline.latest_frames import LatestFrames
from incv3d.pipeline.loader import LoadedModel, Loader, load_classifier
from incv3d.pipeline.probe import Probe
from incv3d.pipeline.workers import Pipeline
from incv3d.sources import source_openers
from incv3d.sources.active_time import active_times
from incv3d.sources.manager import SourceManager
from incv3d.transports.admission import Admission
from incv3d.transports.base import TransportContext
from incv3d.transports.teaching import Teacher

LOG = logging.getLogger(__name__)
CLOSING_S = 10.0
"""How long closing may take after the requests in flight were answered."""
STOPPING = "the daemon is stopping"


class Daemon:
    """One daemon; :meth:`run` is its whole life.

    Every other thread, and the signal handlers, put events into one queue; the main loop alone decides.

    :param log_path: the latency log.
    :param notifier: reports the daemon's state to systemd.
    :param read: reads the configuration again, as at the start.
    :param load: loads the classifier, in the thread that will run it.
    :param environ: the environment, which may hold passwords.
    :raises Incv3dError: a setting, a key, a password or a library is missing or wrong.
    """

    def __init__(
        self,
        loaded: LoadedConfig,
        store: ModelStore,
        log_path: Path,
        notifier: SystemdNotifier,
        read: Callable[[], LoadedConfig],
        load: Loader = load_classifier,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        config = loaded.config
        self._state = DaemonState(config)
        self._notifier = notifier
        self._events: EventQueue[DaemonEvent] = EventQueue()
        self._latency = RollingLatency(
            config.latency.window_s, config.latency.window_frames, self._state.started
        )
        self._frame_queue = FrameQueue(*config.intake.queue_limits, is_large)
        listeners = create_event_listeners(config, state_directory(environ), self._thread_died)
        self._dispatcher = ResultDispatcher(self._latency, listeners)
        self._sources = SourceManager(
            self._frame_queue,
            on_dropped=lambda: self._dispatcher.count(DROPPED),
            on_end=lambda name: self._events.put(SourceEnded(name)),
            on_asleep=lambda name: self._dispatcher.end_source(name, "asleep"),
            on_death=self._thread_died,
        )
        self._reporter = Reporter(self._state, self._latency, self._sources, notifier, log_path)
        self._model = CurrentModel(self._state, store, load, self._dispatcher, self._thread_died)
        self._pipeline = Pipeline(
            self._frame_queue,
            self._model.start,
            self._dispatcher.deliver,
            on_ready=lambda: self._events.put(SessionReady()),
            on_drained=lambda: self._events.put(QueueDrained()),
            on_death=self._thread_died,
            changes=create_change_detector(config.all_sources.values()),
            on_skipped=self._skipped,
        )
        self._health = Health(config, lambda: self._pipeline.failures_in_a_row)
        self._reloader = Reloader(read, self._model, listeners.record, self._reload_ended)
        self._pause_request = PauseRequest(lambda: self._events.put(Pause()))
        self._tuner = Tuner(self._state, store, self._latency, self._events.put, self._thread_died)
        self._store = store
        self._transports = Transports()
        probe = Probe(self._frame_queue)
        self._watchdog = Watchdog(notifier, probe)
        self._connect_parts(loaded, environ, probe)

    def _connect_parts(self, loaded: LoadedConfig, environ: Mapping[str, str], probe: Probe) -> None:
        """Create the transports, which refer to all other parts, and send results to all that need them."""
        queries = Queries(
            self._state,
            self._frame_queue,
            self._latency,
            self._dispatcher,
            self._sources,
            self._health,
            self._transports,
            self._tuner,
        )
        self._transports.create(
            TransportContext(
                loaded,
                environ,
                self._frame_queue,
                Admission(self._frame_queue, queries.result_interval_ms, self._dispatcher.deliver),
                queries,
                lambda: self._create_teacher(loaded.path, queries.frames),
                probe,
                on_rejected=self._dispatcher.count,
                on_pause=self._pause_request.put,
                on_death=self._thread_died,
            )
        )
        for transport in self._transports:
            self._dispatcher.add_transport(transport)
        self._dispatcher.on_completed(
            lambda result, is_accepted: self._sources.deliver(result),
            self._watchdog.complete,
            self._transports.complete,
            self._tuner.offer,
            queries.frames.offer,
        )
        self._health.watch([*self._transports.activities, *self._pipeline.activities])

    def _create_teacher(self, config: Path | None, frames: LatestFrames) -> Teacher:
        from incv3d.app.teacher import DaemonTeacher  # here because only the page needs it

        state, put = self._state, self._events.put
        teacher = DaemonTeacher(state, self._store, frames, put, self._thread_died, config)
        self._dispatcher.on_completed(teacher.offer)
        return teacher

    def run(self) -> int:
        """Start, serve until a signal or the death of a thread, and stop; return the exit status.

        Call it from the main thread, because it handles signals. Threads that hang in a library may remain
        afterwards: end the process with ``os._exit``.

        :raises Incv3dError: something that the daemon needs is not available.
        """
        with self._events.signals(signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self._start()
            return self._stop(self._main_loop())

    def _start(self) -> None:
        config = self._state.config
        openers = source_openers(config.all_sources, self._dispatcher.event_listeners.record)
        self._transports.open()
        self._sources.set_active_times(active_times(config))
        self._sources.configure(config.all_sources.values(), openers)
        self._pipeline.start()
        self._notifier.status("loading the model")

    def _main_loop(self) -> int:
        next_check = time.monotonic()
        while True:
            event = self._events.get(min(self._reporter.next_line, next_check) - time.monotonic())
            if event is not None:
                if (status := self._handle(event)) is not None:
                    return status
                continue
            now = time.monotonic()
            if now >= next_check:
                next_check = now + self._health.interval_s
                if status := self._health.check(self._state.is_ready):
                    return status
                if self._state.is_ready:
                    self._watchdog.check()
                reloading = self._reloader.is_running
                if reloading or not self._state.is_ready:
                    self._notifier.extend_loading(now if reloading else self._state.started, now)
                self._sources.look(now)
                self._tuner.look(now)
                self._dispatcher.look(now, self._sources.states())
            self._reporter.write_if_due(now)

    def _handle(self, event: DaemonEvent | signal.Signals) -> int | None:
        """Handle an event; return the exit status if the daemon must end."""
        match event:
            case signal.SIGHUP:
                self._reporter.reopen_log()
                self._transports.reread_keys()
                self._reloader.is_wanted = True
            case Taught():
                self._reloader.is_wanted = True
            case signal.Signals():
                LOG.info("%s: stopping", event.name)
                return 0
            case SessionReady():
                self._session_ready()
            case ReloadFinished(reload):
                self._end_reload(reload)
            case SourceEnded(name):
                LOG.info("source %s has no more frames; requests are still served", name)
                self._dispatcher.end_source(name)
            case ConversionOutcome():
                self._reloader.is_swap_wanted = self._tuner.finish(event)
            case Pause():
                wanted = self._pause_request.take()
                self._sources.pause(wanted)
                self._transports.paused(wanted)
            case ThreadDied(thread, error):
                self._health.report_death(thread, error)
                is_lasting = isinstance(error, Incv3dError) and error.is_lasting
                return EXIT_SETTING if self._state.phase == "starting" and is_lasting else EXIT_FAILED
        self._begin_reload()
        return None

    def _session_ready(self) -> None:
        self._state.phase = "ready"
        self._reporter.write_start("start")
        self._tuner.begin()
        self._sources.start()
        self._transports.ready()
        self._reporter.ready()
        self._reporter.log_ready()

    def _begin_reload(self) -> None:
        """Read the configuration again, or load the tuned model, if that is due and the daemon is ready."""
        if not self._state.is_ready:
            return
        if self._reloader.begin_if_wanted(self._state.config, self._model.fixed_keys):
            self._notifier.reloading()
            self._notifier.status("reading the configuration again")

    def _end_reload(self, reload: PendingReload | None) -> None:
        self._reloader.is_running = False
        if reload and reload.is_swap:
            self._swap(reload)
        else:
            if reload:
                self._apply(reload)
            self._state.reloaded(self._reloader.problem)
        self._reporter.ready()

    def _swap(self, reload: PendingReload) -> None:
        """Use the tuned model: the same one, as a conversion."""
        if reload.loaded:
            self._use(reload.loaded)
            self._reporter.write_start("tuned", self._tuner.facts())
        self._tuner.swapped(reload.problem)

    def _use(self, loaded: LoadedModel) -> None:
        """Use another model, or other heads, for the next frame; its statistics begin."""
        old, self._state.loaded = self._state.loaded, loaded
        loaded.take_over()
        if old is None or loaded.classifier is not old.classifier:
            self._pipeline.replace(loaded.classifier)
        self._reporter.log_heads()
        self._latency.restart(time.monotonic())

    def _apply(self, reload: PendingReload) -> None:
        config = self._state.config = reload.changes.config
        sources = config.all_sources.values()
        self._sources.set_active_times(active_times(config))
        if reload.loaded:
            self._use(reload.loaded)
            self._reporter.write_start("reload")
        if reload.loaded or reload.changes.source:
            self._pipeline.set_change_detector(create_change_detector(sources))
        if reload.changes.source or reload.changes.events or reload.loaded:
            self._model.replace_event_monitor()
        if reload.changes.source:
            self._sources.replace(sources, reload.openers, self._transports.forget_sources)
        self._health.reconfigure(config)
        self._frame_queue.set_limits(*config.intake.queue_limits)
        self._transports.reconfigure(config)
        self._dispatcher.event_listeners.reconfigure(config)
        self._reporter.reconfigure()
        set_level(config.daemon.log_level)
        if reload.is_new_session or reload.changes.source or reload.changes.tuning:
            self._tuner.begin()
        for key, value in describe_changes(reload.changes).items():
            LOG.info("configuration: %s is now `%s`", key, value)

    def _stop(self, status: int) -> int:
        """Take no more frames, answer requests in flight, reject queued ones, write the last line."""
        was_ready = self._state.is_ready
        self._state.phase = "stopping"
        grace_s = self._state.config.daemon.grace_s
        self._notifier.stopping()
        self._notifier.extend_timeout(grace_s + CLOSING_S)
        self._notifier.status("stopping: answering the requests in flight")
        deadline = time.monotonic() + grace_s
        self._tuner.close()
        self._sources.close()
        self._transports.stopping()
        for frame in self._frame_queue.close():
            self._dispatcher.deliver(Result.refused(frame, Refusal.SHUTTING_DOWN, STOPPING))
        # A Session that is still loading has nothing in flight, and a dead one answers nothing.
        orderly = status in (0, EXIT_MEMORY)
        waits = was_ready and orderly
        if waits and not wait_until_drained(self._events, deadline, self._health.report_death):
            LOG.warning("not all requests in flight could be answered within %g s", grace_s)
        self._dispatcher.end_events()
        reason = (Refusal.SHUTTING_DOWN, STOPPING) if orderly else (Refusal.INTERNAL, self._health.problem)
        self._transports.close(deadline, *reason)
        self._dispatcher.close(deadline)
        self._reporter.close(was_ready)
        return status

    def _skipped(self, frame: Frame) -> None:
        self._dispatcher.skip(frame)
        self._sources.accept(frame)

    def _reload_ended(self, reload: PendingReload | None) -> None:
        self._events.put(ReloadFinished(reload))

    def _thread_died(self, thread: str, error: BaseException) -> None:
        self._events.put(ThreadDied(thread, error))

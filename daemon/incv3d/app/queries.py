"""Answer what transports ask the daemon."""

from __future__ import annotations

import os
from typing import Any

from incv3d.app.dispatcher import ResultDispatcher
from incv3d.app.health import Health
from incv3d.app.state import DaemonState
from incv3d.app.status import daemon_status, frame_facts, info, names_of, stats
from incv3d.app.transports import Transports
from incv3d.app.tuner import Tuner
from incv3d.frames import Frame
from incv3d.latency.rolling import RollingLatency
from incv3d.pipeline.frame_queue import FrameQueue
from incv3d.pipeline.latest_frames import LatestFrames
from incv3d.protocol import messages
from incv3d.sources.manager import SourceManager
from incv3d.transports.base import DaemonStatus


class Queries:
    """Read the daemon's parts; any thread may call the methods."""

    def __init__(
        self,
        state: DaemonState,
        frame_queue: FrameQueue,
        latency: RollingLatency,
        dispatcher: ResultDispatcher,
        sources: SourceManager,
        health: Health,
        transports: Transports,
        tuner: Tuner,
    ) -> None:
        self._state = state
        self._frame_queue = frame_queue
        self._latency = latency
        self._dispatcher = dispatcher
        self._sources = sources
        self._health = health
        self._transports = transports
        self._tuner = tuner
        self.frames = LatestFrames()
        """The latest frames of the sources that are asked for."""

    def describe(self, operation: messages.Operation, source: str = "", after: int = 0) -> dict[str, Any]:
        """Return the answer to ``ping``, ``stats``, ``info``, or ``frame`` of a source."""
        state = self._state
        match operation:
            case "ping":
                return {"state": state.phase}
            case "info":
                return {
                    "state": state.phase,
                    "pid": os.getpid(),
                    "reload": {"count": state.reloads, "problem": state.reload_problem},
                    **info(state.loaded, state.config.all_sources.values()),
                }
            case "frame":
                return frame_facts(self.frames.after(source, after))
            case "stats":
                event_monitor = self._dispatcher.event_monitor
                return {
                    "state": state.phase,
                    "health": str(self._health),
                    "paused": self._sources.paused,
                    "queue_depth": len(self._frame_queue),
                    "queue_limit": state.config.intake.queue_limit,
                    **stats(
                        state.started,
                        state.loaded,
                        self._latency,
                        self._sources.status(),
                        self._tuner.status(),
                    ),
                    **self._transports.status(),
                    **(event_monitor.status() if event_monitor else {}),
                    **self._dispatcher.event_listeners.status(),
                }

    def identity(self) -> tuple[str, str]:
        """Return the names of model and engine; both are empty while the model is being loaded."""
        return names_of(self._state.loaded)

    def result_interval_ms(self) -> float | None:
        """Return the time between two results while frames wait; None: it is not known yet."""
        loaded = self._state.loaded
        if loaded is None:
            return None
        if latest_ms := self._latency.latest_run_ms():
            return latest_ms / loaded.classifier.runs_at_once
        return loaded.warmup.runs_ms[-1] if loaded.warmup.runs_ms else None

    def source_states(self) -> dict[str, str]:
        """Return the state of each source, by its name; ``paused`` if all are."""
        return self._sources.states()

    def discarded_frames(self) -> list[Frame]:
        """Return the latest frame of each source, while they are paused."""
        return self._sources.discarded_frames()

    def status(self) -> DaemonStatus:
        """Return the status of the daemon."""
        state = self._state
        return daemon_status(
            state.phase,
            self._health,
            state.loaded,
            len(self._frame_queue),
            state.config.intake.queue_limit,
            self._transports.undelivered,
            self._sources.status(),
            self._tuner.status(),
        )

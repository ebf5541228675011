"""Write the latency log, and keep the status line of systemd up to date."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from incv3d.app.state import DaemonState
from incv3d.app.status import startup_fields, status_line
from incv3d.app.systemd import SystemdNotifier
from incv3d.latency.log_writer import LatencyLog, StartEvent, start_line, summary_line
from incv3d.latency.rolling import RollingLatency, Summary
from incv3d.machine import read_machine
from incv3d.sources.manager import SourceManager

LOG = logging.getLogger(__name__)
NO_FACTS: Mapping[str, object] = MappingProxyType({})


class Reporter:
    """Report what the daemon does; only the main thread calls it.

    :param log_path: the latency log.
    """

    def __init__(
        self,
        state: DaemonState,
        latency: RollingLatency,
        sources: SourceManager,
        notifier: SystemdNotifier,
        log_path: Path,
    ) -> None:
        section = state.config.latency
        self._state = state
        self._latency = latency
        self._sources = sources
        self._notifier = notifier
        self._log = LatencyLog(log_path, section.max_bytes, section.keep)
        self.next_line = state.started + section.interval_s
        """When the next line of the latency log is due (monotonic)."""

    def write_start(self, reason: StartEvent, facts: Mapping[str, object] = NO_FACTS) -> None:
        """Write the line that says which model runs from now on, with additional `facts`."""
        loaded, sources = self._state.loaded, self._state.config.all_sources.values()
        assert loaded
        self._log.write(start_line(time.time(), reason, {**startup_fields(loaded, sources), **facts}))

    def write_if_due(self, now: float) -> None:
        """Write a line with the latencies if it is time, and the daemon is ready."""
        if now >= self.next_line:
            self.next_line = max(self.next_line + self._state.config.latency.interval_s, now)
            if self._state.is_ready:
                self.write()

    def write(self) -> None:
        """Write a line with the latencies."""
        summary = self._latency.summary(time.monotonic())
        self._log.write(summary_line(time.time(), summary, read_machine()))
        self._update_status(summary)

    def ready(self) -> None:
        """Tell systemd that the daemon is ready, with its status."""
        self._update_status(self._latency.summary(time.monotonic()))
        self._notifier.ready()

    def log_ready(self) -> None:
        """Log which model runs, and the addresses."""
        config, loaded = self._state.config, self._state.loaded
        assert loaded
        facts = loaded.facts
        LOG.info(
            "READY: %s on %s %s, %s, %d threads; requests at %s, results at %s, latency in %s",
            loaded.model,
            facts.engine,
            facts.version,
            facts.precision,
            facts.threads,
            config.intake.bind,
            config.intake.publish or "no address",
            self._log.path,
        )
        self.log_heads()

    def log_heads(self) -> None:
        """Log the taught models that run from now on, if there are any."""
        taught = self._state.loaded.taught if self._state.loaded else None
        if taught and taught.each:
            LOG.info("taught: %s", taught.in_words)

    def reconfigure(self) -> None:
        """Apply a new configuration."""
        section = self._state.config.latency
        self.next_line = min(self.next_line, time.monotonic() + section.interval_s)
        self._latency.resize(section.window_s, section.window_frames)
        self._log.resize(section.max_bytes, section.keep)

    def reopen_log(self) -> None:
        """Open the latency log again: it may have been moved away."""
        self._log.reopen()

    def close(self, was_ready: bool) -> None:
        """Close the latency log, with a last line if the daemon `was_ready`."""
        if was_ready:
            self.write()
        self._log.flush()
        self._log.close()

    def _update_status(self, summary: Summary) -> None:
        assert self._state.loaded
        self._notifier.status(status_line(self._state.loaded, summary, self._sources.status()))

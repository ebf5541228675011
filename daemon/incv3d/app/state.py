"""What the daemon runs with at present: its configuration, its phase, its model."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from incv3d.config.schema import Config
from incv3d.pipeline.loader import LoadedModel


@dataclass(slots=True)
class DaemonState:
    """What the daemon runs with at present.

    The main thread changes it; the thread that loads the first model sets `loaded`.
    """

    config: Config
    phase: str = "starting"
    """One of :data:`incv3d.transports.base.STATES`."""
    loaded: LoadedModel | None = None
    started: float = field(default_factory=time.monotonic)
    reloads: int = 0
    """How often the configuration was read again, and that has ended."""
    reload_problem: str = ""
    """Why the last time changed nothing; empty: it was applied."""

    def reloaded(self, problem: str) -> None:
        """Note that the configuration was read again."""
        self.reloads, self.reload_problem = self.reloads + 1, problem

    @property
    def is_ready(self) -> bool:
        """Return whether the Session is warm and frames are classified."""
        return self.phase == "ready"

"""A daemon of which everything can be told."""

from __future__ import annotations

from incv3d.machine import Readings
from incv3d.sources.base import SourceStatus
from incv3d.transports.base import DaemonStatus, TuningStatus

CAMERA = SourceStatus("gate", "stalled", "no frame for 10 s", 0.0, 120, 3, 2, 7, 0)
STANDING = DaemonStatus(
    state="ready",
    health="ok",
    silent_s=0.0,
    model={"model": "gamma", "engine": "litert", "version": "1"},
    queue_depth=3,
    queue_limit=8,
    undelivered=1,
    sources=[CAMERA],
    machine=Readings(61.5, 0x50005, 100.0),
    tuning=TuningStatus("collecting", "", frames=12, wanted=60, tries=1),
)

"""What the daemon says of itself: the answers to ``info`` and ``stats``."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy
import zmq

from incv3d import __version__
from incv3d.app.health import Health
from incv3d.clock import timestamp, unix_time
from incv3d.config.schema import SourceSection
from incv3d.latency.rolling import RollingLatency, Summary
from incv3d.machine import read_machine
from incv3d.pipeline.loader import LoadedModel
from incv3d.sources import SourceStatus
from incv3d.transports.daemon_status import DaemonStatus
from incv3d.transports.zeromq.server import ZmqServer


def info(loaded: LoadedModel | None, source: SourceSection) -> dict[str, Any]:
    """What runs here, with the versions that a bug report needs.

    :param loaded: None while the Session is not there yet.
    """
    versions = {
        "incv3d": __version__,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "pyzmq": zmq.__version__,
        "zmq": zmq.zmq_version(),
    }
    facts: dict[str, Any] = {"version": __version__, **_identity(loaded), "versions": versions}
    if source.type != "none":
        facts["source"] = {"type": source.type, "name": source.name, "regions": source.regions}
    if loaded:
        versions[loaded.facts.engine] = loaded.facts.version
        facts["pixels"] = loaded.pixels
        facts["session"] = {**asdict(loaded.facts), "runs_at_once": loaded.classifier.runs_at_once}
    return facts


def stats(
    started: float,
    loaded: LoadedModel | None,
    intake: ZmqServer,
    latency: RollingLatency,
    sources: Sequence[SourceStatus],
) -> dict[str, Any]:
    """How it is going: what became of the frames, how long they took, how the source is.

    :param started: when the daemon was (monotonic).
    """
    now = time.monotonic()
    return {
        "uptime_s": round(now - started, 3),
        **_identity(loaded),
        **intake.status(),
        "outcomes": latency.totals(),
        "window": asdict(latency.summary(now)),
        "machine": asdict(read_machine()),
        **({"source": _source_facts(sources[0])} if sources else {}),
    }


def startup_fields(loaded: LoadedModel, source: SourceSection) -> dict[str, object]:
    """What runs, and what getting it warm took, for the latency log."""
    facts, warmup = loaded.facts, loaded.warmup
    return {
        "version": __version__,
        "model": loaded.model,
        "engine": facts.engine,
        "engine_version": facts.version,
        "precision": facts.precision,
        "threads": facts.threads,
        "import_ms": f"{facts.import_ms:.0f}",
        "build_ms": f"{facts.build_ms:.0f}",
        "warmup_runs": len(warmup.runs_ms),
        "warmup_ms": f"{sum(warmup.runs_ms):.0f}",
        **({"regions": ",".join(source.regions)} if source.regions else {}),
    }


def standing(
    state: str, health: Health, loaded: LoadedModel | None, intake: ZmqServer, sources: Sequence[SourceStatus]
) -> DaemonStatus:
    """How the daemon stands now."""
    door = intake.status()
    model: dict[str, str] = {}
    if loaded:
        facts = loaded.facts
        engine = {
            "engine_version": facts.version,
            "precision": facts.precision,
            "threads": str(facts.threads),
        }
        model = {**_identity(loaded), **engine, "version": __version__}
    return DaemonStatus(
        state=state,
        health=str(health),
        silent_s=health.silent_s,
        model=model,
        queue_depth=door["queue_depth"],
        queue_limit=door["queue_limit"],
        undelivered=door["undelivered"],
        sources=sources,
        machine=read_machine(),
    )


def status_line(loaded: LoadedModel, summary: Summary, sources: Sequence[SourceStatus]) -> str:
    """How it is going, for ``systemctl status``."""
    facts = loaded.facts
    parts = [f"{loaded.model} on {facts.engine} {facts.precision}", f"{summary.fps:.2f} fps"]
    if summary.run:
        parts.append(f"run p95 {summary.run.p95_ms:.0f} ms")
    parts += [f"{source.name} {source.state}" for source in sources]
    return ", ".join(parts)


def _identity(loaded: LoadedModel | None) -> dict[str, str]:
    return {"model": loaded.model, "engine": loaded.facts.engine} if loaded else {"model": "", "engine": ""}


def _source_facts(status: SourceStatus) -> dict[str, Any]:
    """A source's state; its time as others can read it."""
    return {**asdict(status), "since": timestamp(unix_time(status.since))}

"""Build the answers to ``info`` and ``stats``, and the status line for systemd."""

from __future__ import annotations

import platform
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, astuple
from typing import Any

import msgspec
import numpy
import zmq

from incv3d import __version__
from incv3d.app.health import Health
from incv3d.clock import timestamp, unix_time
from incv3d.config.source import SourceSection
from incv3d.latency.rolling import RollingLatency, Summary
from incv3d.machine import read_machine
from incv3d.models.taught.model import TaughtModel
from incv3d.pipeline.latest_frames import NumberedFrame
from incv3d.pipeline.loader import LoadedModel
from incv3d.pipeline.taught import SHOWN_DIGITS
from incv3d.protocol.latest_frame import LatestFrame
from incv3d.sources import SourceStatus
from incv3d.transports.base import DaemonStatus, TuningStatus


def info(loaded: LoadedModel | None, sources: Collection[SourceSection]) -> dict[str, Any]:
    """Return what runs here, with the versions that a bug report needs.

    :param loaded: None while the model is being loaded.
    """
    versions = {
        "incv3d": __version__,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "pyzmq": zmq.__version__,
        "zmq": zmq.zmq_version(),
    }
    facts: dict[str, Any] = {"version": __version__, **_identity(loaded), "versions": versions}
    captured = [
        {"type": each.type, "name": each.name, "regions": each.regions}
        | ({"model": each.model} if each.model else {})
        for each in sources
    ]
    if captured:
        facts |= {"source": captured[0], "sources": captured}
    if loaded:
        versions[loaded.facts.engine] = loaded.facts.version
        facts["pixels"] = loaded.pixels
        session = asdict(loaded.facts) | {
            "import_ms": round(loaded.facts.import_ms, 1),
            "build_ms": round(loaded.facts.build_ms, 1),
            "runs_at_once": loaded.classifier.runs_at_once,
        }
        facts["session"] = session
        facts["taught"] = [_taught_facts(each) for each in _taught(loaded)]
    return facts


def frame_facts(found: NumberedFrame | None) -> dict[str, Any]:
    """Return the answer to ``frame``: a frame as it was captured.

    :param found: None: there is no new one yet.
    """
    if found is None:
        return {"number": 0}
    frame = found.frame
    return msgspec.structs.asdict(
        LatestFrame(
            number=found.number,
            captured_at=round(found.at_unix_s, 3),
            encoding=frame.encoding,
            width=frame.width,
            height=frame.height,
            transform=frame.transform,
            colours=frame.colours,
            region=astuple(frame.region) if frame.region else None,
            image=bytes(frame.data),
        )
    )


def stats(
    started: float,
    loaded: LoadedModel | None,
    latency: RollingLatency,
    sources: Sequence[SourceStatus],
    tuning: TuningStatus,
) -> dict[str, Any]:
    """Return outcomes and latencies of the frames, and the status of machine, source and tuning.

    :param started: when the daemon started (monotonic).
    """
    now = time.monotonic()
    captured = [_source_facts(each) for each in sources]
    return {
        "uptime_s": round(now - started, 3),
        **_identity(loaded),
        "outcomes": latency.totals(),
        "window": asdict(latency.summary(now)),
        "machine": asdict(read_machine()),
        "tuning": asdict(tuning),
        **({"source": captured[0], "sources": captured} if captured else {}),
    }


def startup_fields(loaded: LoadedModel, sources: Collection[SourceSection]) -> dict[str, object]:
    """Return model, engine and the cost of the warm-up, for the latency log."""
    facts, warmup = loaded.facts, loaded.warmup
    is_one = len(sources) == 1
    regions = [name if is_one else f"{each.name}.{name}" for each in sources for name in each.regions]
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
        **({"regions": ",".join(regions)} if regions else {}),
        **_head_fields(loaded),
    }


def daemon_status(
    state: str,
    health: Health,
    loaded: LoadedModel | None,
    queue_depth: int,
    queue_limit: int,
    undelivered: int,
    sources: Sequence[SourceStatus],
    tuning: TuningStatus,
) -> DaemonStatus:
    """Return the status of the daemon now."""
    model: dict[str, str] = {}
    if loaded:
        facts = loaded.facts
        engine = {
            "engine_version": facts.version,
            "precision": facts.precision,
            "threads": str(facts.threads),
        }
        base = {"base": loaded.base} if _taught(loaded) else {}
        model = {**_identity(loaded), **base, **engine, "version": __version__}
    return DaemonStatus(
        state=state,
        health=str(health),
        silent_s=health.silent_s,
        model=model,
        queue_depth=queue_depth,
        queue_limit=queue_limit,
        undelivered=undelivered,
        sources=sources,
        machine=read_machine(),
        tuning=tuning,
    )


def status_line(loaded: LoadedModel, summary: Summary, sources: Sequence[SourceStatus]) -> str:
    """Return the line that ``systemctl status`` shows."""
    facts = loaded.facts
    parts = [f"{loaded.model} on {facts.engine} {facts.precision}", f"{summary.fps:.2f} fps"]
    if summary.run:
        parts.append(f"run p95 {summary.run.p95_ms:.0f} ms")
    parts += [f"{source.name} {source.state}" for source in sources]
    return ", ".join(parts)


def names_of(loaded: LoadedModel | None) -> tuple[str, str]:
    """Return the names of model and engine; both are empty while the model is being loaded."""
    return (loaded.model, loaded.facts.engine) if loaded else ("", "")


def _identity(loaded: LoadedModel | None) -> dict[str, str]:
    model, engine = names_of(loaded)
    return {"model": model, "engine": engine}


def _taught(loaded: LoadedModel) -> list[TaughtModel]:
    return loaded.taught.each if loaded.taught else []


def _taught_facts(model: TaughtModel) -> dict[str, Any]:
    """Return, for ``info``, what a head was taught and how good it is."""
    facts = model.facts
    return {
        "name": model.name,
        "base": facts.base,
        "classes": facts.classes,
        "taught_at": facts.taught_at,
        "head": facts.head_sha256[:SHOWN_DIGITS],
        "accuracy": facts.accuracy,
        "low": facts.low,
        "high": facts.high,
    }


def _head_fields(loaded: LoadedModel) -> dict[str, object]:
    """Return, for the latency log, the base model and the heads; nothing if no taught model runs."""
    taught = _taught(loaded)
    heads = ",".join(f"{each.name}:{each.facts.head_sha256[:SHOWN_DIGITS]}" for each in taught)
    return {"base": loaded.base, "heads": heads} if taught else {}


def _source_facts(status: SourceStatus) -> dict[str, Any]:
    """Return the status of a source, with its time as UTC."""
    return {**asdict(status), "since": timestamp(unix_time(status.since))}

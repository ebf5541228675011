"""Inference engines: one file per engine, behind one Session protocol; this is their registry."""

from __future__ import annotations

from pathlib import Path
from typing import assert_never, get_args

from incv3d.engines.base import (
    BadFeed,
    Engine,
    EngineName,
    Features,
    ModelFormat,
    Session,
    SessionError,
    SessionFacts,
    SessionSpec,
    SpareMemory,
)
from incv3d.machine import available_memory_mb

__all__ = [
    "BadFeed",
    "Engine",
    "EngineName",
    "Features",
    "Session",
    "SessionError",
    "SessionFacts",
    "SessionSpec",
    "engine_for",
    "engine_of",
    "open_session",
]


def engine_of(name: EngineName) -> Engine:
    """Return an engine by its word in ``session.engine``. Its library is not imported."""
    match name:
        case "tensorflow":
            from incv3d.engines.tensorflow import TENSORFLOW

            return TENSORFLOW
        case "litert":
            from incv3d.engines.litert import LITERT

            return LITERT
        case "onnx":
            from incv3d.engines.onnx import ONNX

            return ONNX
        case _:
            assert_never(name)


def engine_for(format_: ModelFormat) -> Engine:
    """Return the engine that runs stored models of a format."""
    engines = (engine_of(name) for name in get_args(EngineName))
    return next(engine for engine in engines if engine.format == format_)


def open_session(
    spec: SessionSpec, prepared: Path | None, spare_mb: SpareMemory = available_memory_mb
) -> Session:
    """Open the Session that `spec` describes, loaded but not warm.

    :param prepared: the folder of a frozen graph prepared for the C API, or the file with a flatbuffer's
        packed weights, checked; None: it could not be prepared.
    :param spare_mb: called before the plain Session, which takes the most memory, is opened.
    :raises SessionError: it cannot be opened.
    """
    return engine_for(spec.format).open(spec, prepared, spare_mb)

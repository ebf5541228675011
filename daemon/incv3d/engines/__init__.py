"""Warmed Sessions: one module an engine behind one protocol."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from incv3d.engines.base import BadFeed, Session, SessionError, SessionFacts, SessionSpec
from incv3d.engines.quiet_stderr import quiet_stderr
from incv3d.machine import available_memory_mb

__all__ = ["ENGINES", "BadFeed", "Session", "SessionError", "SessionFacts", "SessionSpec", "open_session"]

LOG = logging.getLogger(__name__)
MIB = 1024 * 1024
ENGINES = {"graphdef": "tensorflow", "tflite": "litert"}
"""The engine that runs a model, by the format that the store keeps it in."""


def open_session(
    spec: SessionSpec,
    prepared: Path | None,
    spare_mb: Callable[[], float | None] = available_memory_mb,
) -> Session:
    """The Session that `spec` describes, loaded but not warm.

    :param prepared: the folder of a frozen graph prepared for the C API; None: it could not be prepared.
    :param spare_mb: asked how much memory there is for the plain Session, which takes the most.
    :raises SessionError: when it cannot be opened.
    """
    if spec.format == "tflite":
        from incv3d.engines.litert import LiteRTSession

        with quiet_stderr():
            return LiteRTSession(spec)
    if prepared:
        from incv3d.engines.capi import LibraryMissing, TensorFlowError
        from incv3d.engines.tensorflow_c import TensorFlowSession

        try:
            with quiet_stderr():
                return TensorFlowSession(prepared, spec.threads, spec.cache_filters)
        except (LibraryMissing, TensorFlowError) as error:
            LOG.warning("TensorFlow's C API will not do (%s); importing its Python package instead", error)
    check_plain_memory(spec.file, spare_mb())
    from incv3d.engines.tensorflow_python import PythonSession

    with quiet_stderr():
        return PythonSession(spec)


def plain_session_mb(network_bytes: int) -> float:
    """Return about how much memory TensorFlow's Python package takes with a graph that is not prepared, MiB.

    Inception-v3's 91 MB of graph took 1630, EfficientNet-Lite0's 18 MB took 860.
    """
    return 650 + 11 * network_bytes / MIB


def check_plain_memory(network: Path, spare_mb: float | None) -> None:
    """Raise SessionError unless the plain Session of `network` will find the memory that it takes.

    :param spare_mb: what this process can still take; None: it cannot be told, and may be tried.
    """
    if not network.is_file():
        return  # opening it says so
    needed_mb = plain_session_mb(network.stat().st_size)
    if spare_mb is not None and spare_mb < needed_mb:
        raise SessionError(
            f"{network}: not prepared, it takes {needed_mb:.0f} MB of memory, {spare_mb:.0f} MB are free "
            f"for it; run it on a larger machine, or convert it to .tflite there"
        )

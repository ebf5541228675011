"""Warmed Sessions: one module an engine behind one protocol."""

from __future__ import annotations

import logging
from pathlib import Path

from incv3d.sessions.base import BadFeed, Session, SessionError, SessionFacts, SessionSpec
from incv3d.sessions.quiet import quiet_stderr

__all__ = ["ENGINES", "BadFeed", "Session", "SessionError", "SessionFacts", "SessionSpec", "open_session"]

LOG = logging.getLogger(__name__)
ENGINES = {"graphdef": "tensorflow", "tflite": "litert"}
"""The engine that runs a model, by the format that the store keeps it in."""


def open_session(spec: SessionSpec, prepared: Path | None) -> Session:
    """The Session that `spec` describes, loaded but not warm.

    :param prepared: the folder of a frozen graph prepared for the C API; None: it could not be prepared.
    :raises SessionError: when it cannot be opened.
    """
    if spec.format == "tflite":
        from incv3d.sessions.litert import LiteRTSession

        with quiet_stderr():
            return LiteRTSession(spec)
    if prepared:
        from incv3d.sessions.capi import LibraryMissing, TensorFlowError
        from incv3d.sessions.tensorflow import TensorFlowSession

        try:
            with quiet_stderr():
                return TensorFlowSession(prepared, spec.threads, spec.cache_filters)
        except (LibraryMissing, TensorFlowError) as error:
            LOG.warning("TensorFlow's C API will not do (%s); importing its Python package instead", error)
    from incv3d.sessions.tensorflow_python import PythonSession

    with quiet_stderr():
        return PythonSession(spec)

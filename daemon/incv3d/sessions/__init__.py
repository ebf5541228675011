"""Warmed Sessions: one module an engine behind one protocol."""

from incv3d.sessions.base import Session, SessionError, SessionFacts, SessionSpec

__all__ = ["Session", "SessionError", "SessionFacts", "SessionSpec", "open_session"]


def open_session(spec: SessionSpec) -> Session:
    """The Session that `spec` describes, loaded but cold.

    :raises SessionError: when it cannot be opened.
    """
    from incv3d.sessions.tensorflow_python import PythonSession

    return PythonSession(spec)

"""Engine ``tensorflow``: frozen graphs, by TensorFlow's C API or else by its Python package."""

from __future__ import annotations

import logging
from pathlib import Path

from incv3d.engines.base import Engine, Session, SessionError, SessionSpec, SpareMemory
from incv3d.engines.quiet_stderr import quiet_stderr

LOG = logging.getLogger(__name__)
MIB = 1024 * 1024


def _open_session(spec: SessionSpec, prepared: Path | None, spare_mb: SpareMemory) -> Session:
    if prepared:
        from incv3d.engines.capi import LibraryMissing, TensorFlowError
        from incv3d.engines.tensorflow_c import TensorFlowSession

        try:
            with quiet_stderr():
                return TensorFlowSession(prepared, spec.threads, spec.cache_filters, spec.features)
        except (LibraryMissing, TensorFlowError) as error:
            LOG.warning("TensorFlow's C API cannot be used (%s); importing its Python package instead", error)
    check_plain_memory(spec.file, spare_mb())
    from incv3d.engines.tensorflow_python import PythonSession

    with quiet_stderr():
        return PythonSession(spec)


def plain_session_mb(network_bytes: int) -> float:
    """Return the approximate memory in MiB that TensorFlow's Python package needs for an unprepared graph.

    Inception-v3 with a graph of 91 MB took 1630, EfficientNet-Lite0 with 18 MB took 860.
    """
    return 650 + 11 * network_bytes / MIB


def check_plain_memory(network: Path, spare_mb: float | None) -> None:
    """Raise SessionError if there is not enough memory for the plain Session of `network`.

    :param spare_mb: how much memory this process can still use; None: unknown, nothing is checked.
    """
    if not network.is_file():
        return  # opening it reports that
    needed_mb = plain_session_mb(network.stat().st_size)
    if spare_mb is not None and spare_mb < needed_mb:
        raise SessionError(
            f"{network}: not prepared, it needs {needed_mb:.0f} MB of memory, but only {spare_mb:.0f} MB are "
            f"free; run it on a larger machine, or convert it to .tflite there"
        )


def _needed_mb(network_mb: float) -> float:
    """Return the measured need, rounded up. Loading the library is the peak for networks up to 100 MiB."""
    return max(420.0, 150 + 2.5 * network_mb)


TENSORFLOW = Engine(
    name="tensorflow",
    format="graphdef",
    module="tensorflow",
    package="tensorflow",
    open=_open_session,
    needed_mb=_needed_mb,
    fixes_threads=True,
)

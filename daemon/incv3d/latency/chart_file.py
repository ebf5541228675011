"""Check whether a chart can be drawn and written, before doing the work that it shows."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from incv3d.errors import Incv3dError, pip_install

INSTALL = pip_install("matplotlib")
SUFFIXES = (".png", ".svg", ".pdf")


class ChartError(Incv3dError):
    """A chart cannot be drawn or written."""


class ChartUsageError(ChartError):
    """The chart's output path is not usable."""

    is_lasting = True


def check_chart_path(path: Path, option: str) -> None:
    """Raise :class:`ChartError` if a chart cannot be written to `path`, the value of `option`."""
    if find_spec("matplotlib") is None:
        raise ChartError(f"{option}: matplotlib is not installed; {INSTALL}")
    if path.suffix.lower() not in SUFFIXES:
        raise ChartUsageError(f"{option}: {path}: must end in {', '.join(SUFFIXES)}")
    folder = path.parent
    writable = os.access(path, os.W_OK) if path.exists() else os.access(folder, os.W_OK | os.X_OK)
    if path.is_dir() or not folder.is_dir() or not writable:
        raise ChartUsageError(f"{option}: {path}: cannot be written")

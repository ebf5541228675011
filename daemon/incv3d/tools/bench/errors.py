"""What can go wrong with a benchmark."""

from __future__ import annotations

from incv3d.errors import Incv3dError


class BenchError(Incv3dError):
    """The benchmark cannot be run, or nothing came out of it."""


class BenchUsageError(BenchError):
    """What was asked for cannot be meant."""

    exit_status = 2

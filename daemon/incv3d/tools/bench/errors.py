"""Define the errors of benchmarks."""

from __future__ import annotations

from incv3d.errors import Incv3dError


class BenchError(Incv3dError):
    """The benchmark cannot be run, or has no result."""


class BenchUsageError(BenchError):
    """The options of the benchmark are not valid."""

    is_lasting = True

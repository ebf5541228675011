"""Describe the machine to check: where its system files are, and the Python that runs here."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The machine to check; by default this one."""

    proc: Path = Path("/proc")
    sysfs: Path = Path("/sys")
    dev: Path = Path("/dev")
    etc: Path = Path("/etc")
    run: Path = Path("/run")
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    architecture: str = field(default_factory=platform.machine)
    """Of the kernel; programs can be 32-bit nevertheless."""
    bits: int = 64 if sys.maxsize > 2**32 else 32
    """Of this Python."""
    libc: tuple[str, str] = field(default_factory=platform.libc_ver)
    """``("glibc", "2.36")``; empty for musl."""
    python: Path = Path(sys.executable)
    python_version: tuple[int, int] = sys.version_info[:2]
    prefix: Path = Path(sys.prefix)
    """Root of the virtual environment, or of the Python installation."""
    stdlib: Path = field(default_factory=lambda: Path(sysconfig.get_path("stdlib")))

    @property
    def pip(self) -> str:
        """The command that installs a package for this Python."""
        return f"{self.python} -m pip install"

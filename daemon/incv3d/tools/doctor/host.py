"""Where the doctor looks: the machine's file systems, and the Python that runs here."""

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
    """This machine, unless other places are named."""

    proc: Path = Path("/proc")
    sysfs: Path = Path("/sys")
    dev: Path = Path("/dev")
    etc: Path = Path("/etc")
    run: Path = Path("/run")
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    architecture: str = field(default_factory=platform.machine)
    """The kernel's; programs can be of 32 bits all the same."""
    bits: int = 64 if sys.maxsize > 2**32 else 32
    """Of this Python."""
    libc: tuple[str, str] = field(default_factory=platform.libc_ver)
    """``("glibc", "2.36")``; empty for musl."""
    python: Path = Path(sys.executable)
    python_version: tuple[int, int] = sys.version_info[:2]
    prefix: Path = Path(sys.prefix)
    """Of the virtual environment, where this is one."""
    stdlib: Path = field(default_factory=lambda: Path(sysconfig.get_path("stdlib")))

    @property
    def pip(self) -> str:
        """What to type to install a package for this Python."""
        return f"{self.python} -m pip install"


def read(path: Path) -> str:
    """The text of a small file of the system; empty when it cannot be read."""
    try:
        return path.read_text("utf-8", "replace").strip("\0\n ")
    except OSError:
        return ""


def fields(text: str, separator: str) -> dict[str, str]:
    """The first value of each ``key<separator>value`` line, without quotes."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, there, value = line.partition(separator)
        if there:
            found.setdefault(key.strip(), value.strip().strip('"'))
    return found

"""Release memory that was touched by loading a library, but is not needed to run it."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path

MADV_DONTNEED = 4
SMAPS = Path("/proc/self/smaps")
HEADER = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \d+\s*(.*)")


@dataclass(frozen=True, slots=True)
class Mapping:
    """One mapping of this process's memory."""

    start: int
    length: int
    permissions: str
    path: str
    anonymous_kb: int
    """Pages without a file (written since they were mapped, or relocated by the linker)."""


def release_clean_pages(*places: Path) -> int:
    """Release the clean, read-only pages of files from this process. Return their size in bytes.

    Loading TensorFlow runs thousands of static initializers, which leave 300 MB of its code mapped; running a
    model needs a fraction of that. Pages that are needed again come from the page cache. Only mappings
    without any private page are released, so that nothing written by the linker or the program is lost.

    :param places: files and folders of files, as absolute paths without links.
    """
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    dropped = 0
    try:
        mappings = parse_smaps(SMAPS.read_text("utf-8", "replace"))
    except OSError:
        return 0  # no procfs: nothing is known, so nothing is released
    for each in mappings:
        path = Path(each.path)
        meant = path in places or path.parent in places
        clean = "w" not in each.permissions and each.anonymous_kb == 0
        if meant and clean and libc.madvise(each.start, each.length, MADV_DONTNEED) == 0:
            dropped += each.length
    return dropped


def parse_smaps(text: str) -> list[Mapping]:
    """Return the mappings listed in ``/proc/PID/smaps`` (proc(5))."""
    mappings: list[Mapping] = []
    header: re.Match[str] | None = None
    for line in text.splitlines():
        if line.startswith("Anonymous:") and header:
            start, end = int(header[1], 16), int(header[2], 16)
            mappings.append(Mapping(start, end - start, header[3], header[4], int(line.split()[1])))
        else:
            header = HEADER.fullmatch(line) or header
    return mappings

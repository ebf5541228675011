"""The C library's heap, in a process that runs for months."""

from __future__ import annotations

import ctypes

M_ARENA_MAX = -8
ARENAS = 2


def limit_arenas() -> None:
    """Let all threads share two arenas of glibc's allocator. To be called before there are any threads.

    As many as eight a core grow on their own otherwise, and each keeps what it once held of a large picture
    (mallopt(3)). Without glibc nothing is done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_ARENA_MAX, ARENAS)


def give_back() -> None:
    """Give memory that was freed back to the system (malloc_trim(3)). Without glibc nothing is done."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)

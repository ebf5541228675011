"""The heap: what was freed goes back to the system."""

from __future__ import annotations

import subprocess
import sys

HOLES = """
import ctypes, re
from pathlib import Path
from incv3d.machine import trim_heap, limit_malloc_arenas

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = libc.memset.argtypes = (ctypes.c_void_p,)
libc.memset.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)

def anonymous_kb():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

limit_malloc_arenas()
blocks = [libc.malloc(60_000) for _ in range(1000)]
for block in blocks:
    libc.memset(block, 1, 60_000)
full = anonymous_kb()
for block in blocks[:-1]:  # the last one, at the top, keeps the heap from shrinking by itself
    libc.free(block)
freed = anonymous_kb()
trim_heap()
print(full - freed, freed - anonymous_kb())
"""


def test_what_was_freed_below_something_that_is_held_goes_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOLES], capture_output=True, text=True, timeout=60, check=True
    )
    by_itself_kb, given_back_kb = map(int, done.stdout.split())
    assert by_itself_kb < 5_000 and given_back_kb > 50_000, done.stdout

"""Keep what a library says while it loads out of the log."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Let nothing that is written to file descriptor 2 through, unless the block fails.

    TensorFlow says a dozen lines while it loads, some before any setting of its own is in force. Whoever
    wants to be heard meanwhile writes to a duplicate of the descriptor, as the daemon's log does.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as said:
        kept = os.dup(2)
        os.dup2(said.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            if failed:
                said.seek(0)
                sys.stderr.write(said.read().decode("utf-8", "replace"))

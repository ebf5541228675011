"""Keep a library's messages while it loads out of the log."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Discard everything written to file descriptor 2 during the block, unless the block fails.

    TensorFlow prints a dozen lines while it loads, some before any of its settings apply. Output that must
    not be discarded goes to a duplicate of the descriptor, as the daemon's log does.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as output:
        kept = os.dup(2)
        os.dup2(output.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            if failed:
                output.seek(0)
                sys.stderr.write(output.read().decode("utf-8", "replace"))

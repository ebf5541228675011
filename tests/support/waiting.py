"""Wait for what must happen."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from processes import PATIENCE_S


def until(condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Wait until `condition` returns something true, and return it; fail with `what` was waited for."""
    deadline = time.monotonic() + patience_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.01)
    return found

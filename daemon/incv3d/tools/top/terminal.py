"""Read single keys from a terminal."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator

DISABLED = b"\0"


@contextlib.contextmanager
def single_keys() -> Iterator[int | None]:
    """Let keys be read one by one without echo while the block runs; yields None without a keyboard.

    Ctrl-C still interrupts. Ctrl-Z is disabled: it would leave the terminal in this mode.
    """
    if not sys.stdin.isatty():
        yield None
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)
    mode = termios.tcgetattr(keyboard)
    mode[6][termios.VSUSP] = DISABLED
    termios.tcsetattr(keyboard, termios.TCSANOW, mode)
    try:
        yield keyboard
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def wait_for_quit(keyboard: int | None, timeout_s: float) -> bool:
    """Wait up to `timeout_s`; return whether `q` was pressed or the terminal was closed."""
    if keyboard is None:
        time.sleep(timeout_s)
        return False
    if not select.select([keyboard], [], [], timeout_s)[0]:
        return False
    pressed = os.read(keyboard, 1024)
    return not pressed or b"q" in pressed.lower()

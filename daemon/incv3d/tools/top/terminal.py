"""Single keys from a terminal."""

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
    """While the block runs, keys come one by one and are not shown; None: there is no keyboard.

    Ctrl-C stays what it is. Ctrl-Z does nothing: it would leave the terminal as no shell wants it.
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
    """Whether `q` was pressed, or the terminal went away, within `timeout_s`."""
    if keyboard is None:
        time.sleep(timeout_s)
        return False
    if not select.select([keyboard], [], [], timeout_s)[0]:
        return False
    pressed = os.read(keyboard, 1024)
    return not pressed or b"q" in pressed.lower()

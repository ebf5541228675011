"""What to type where a Python library is missing: a command that works from any shell and folder."""

from __future__ import annotations

import os
import shlex
import sys


def pip_install(*words: str) -> str:
    """The command that installs packages into the environment that runs this program.

    :param words: packages, or further words of ``pip install``.
    """
    root = "" if os.access(sys.prefix, os.W_OK) else "sudo "
    return f"{root}{shlex.quote(sys.executable)} -m pip install {shlex.join(words)}"

"""The command that installs a missing Python library; it works from any shell and folder."""

from __future__ import annotations

import os
import shlex
import sys


def pip_install(*words: str) -> str:
    """Return the command that installs packages into the environment that runs this program.

    :param words: packages, or options of ``pip install``.
    """
    root = "" if os.access(sys.prefix, os.W_OK) else "sudo "
    return f"{root}{shlex.quote(sys.executable)} -m pip install {shlex.join(words)}"

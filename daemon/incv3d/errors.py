"""Define the base class of all incv3d exceptions, and the command that installs a missing package."""

from __future__ import annotations

import os
import shlex
import sys


class Incv3dError(Exception):
    """A failure whose message is for the user: what, where, what to do.

    Each room derives its own family from this class. The command line prints the message as one line and
    exits with :attr:`exit_status`.
    """

    exit_status = 1

    @property
    def lines(self) -> list[str]:
        """The lines to print."""
        return [str(self)]

    is_lasting = False
    """Whether only the user can remove the cause. A daemon that cannot start for such a reason exits with
    status 2, and systemd does not restart it."""


def pip_install(*words: str) -> str:
    """Return the command that installs packages into the environment of this program.

    :param words: packages, or options of ``pip install``.
    """
    root = "" if os.access(sys.prefix, os.W_OK) else "sudo "
    return f"{root}{shlex.quote(sys.executable)} -m pip install {shlex.join(words)}"

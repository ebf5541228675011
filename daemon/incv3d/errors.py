"""Base class of all incv3d exceptions, and the command that installs what is missing."""

from __future__ import annotations

import os
import shlex
import sys


class Incv3dError(Exception):
    """A failure whose message is made for the person who reads it: what, where, what to do.

    Each room derives its own family from this class. The command line prints the message as one line
    and ends with :attr:`exit_status`.
    """

    exit_status = 1

    @property
    def lines(self) -> list[str]:
        """What is printed, each for a line of its own."""
        return [str(self)]

    is_lasting = False
    """Whether only a person can remove the cause. A daemon that cannot start for such a reason ends with
    status 2, and systemd does not start it again."""


def pip_install(*words: str) -> str:
    """Return the command that installs packages into the environment that runs this program.

    :param words: packages, or options of ``pip install``.
    """
    root = "" if os.access(sys.prefix, os.W_OK) else "sudo "
    return f"{root}{shlex.quote(sys.executable)} -m pip install {shlex.join(words)}"

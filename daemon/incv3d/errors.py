"""Define the base class of all incv3d exceptions, and what to say of a missing package."""

from __future__ import annotations

import os
import shlex
import sys

LONGEST = 400
"""Characters of a library's message."""

QUANTIZER = ("--no-deps", "ai-edge-quantizer<1", "immutabledict", "absl-py")
"""What :func:`pip_install` takes for conversions to int8, as in ``systemd/quantizer.txt``: not SciPy, which
takes 150 MB and is not used."""


class Incv3dError(Exception):
    """A failure whose message is for the user: what, where, what to do.

    Each room derives its own family from this class. The command line prints the message as one line.
    """

    @property
    def lines(self) -> list[str]:
        """The lines to print."""
        return [str(self)]

    is_lasting = False
    """Whether only the user can remove the cause. The command line, and a daemon that cannot start, then exit
    with status 2, else 1; systemd does not restart a daemon that exited with status 2."""


def one_line(error: BaseException) -> str:
    """Return the message of a library's error in one line, shortened."""
    return " ".join(str(error).split())[:LONGEST]


def not_installed(package: str) -> str:
    """Return the message that a package is missing, with the command that installs it."""
    return f"{package} is not installed: {pip_install(package)}"


def pip_install(*words: str) -> str:
    """Return the command that installs packages into the environment of this program.

    :param words: packages, or options of ``pip install``.
    """
    root = "" if os.access(sys.prefix, os.W_OK) else "sudo "
    return f"{root}{shlex.quote(sys.executable)} -m pip install {shlex.join(words)}"

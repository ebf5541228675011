"""Other programs, asked with a limit to their time: none can hold the doctor up."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from incv3d.child_process import python_environ, python_words, start
from incv3d.tools.doctor.host import Host

LARGEST_OUTPUT = 1 << 20
DYING_S = 2.0
"""A killed program that sits in the kernel (a camera's driver, a dead disk) is left alone after so long."""


@dataclass(frozen=True, slots=True)
class ProgramOutput:
    """A program that ended, or was ended."""

    status: int | None
    """Negative: the signal that killed it; None: it took too long, or is not installed."""
    out: str = ""
    err: str = ""
    found: bool = True
    """Whether there is such a program."""

    @property
    def last_words(self) -> str:
        """The last line that it said to standard error."""
        return (self.err.strip().splitlines() or [""])[-1]


def run_program(
    machine: Host, words: Sequence[str], limit_s: float, settings: Mapping[str, str] | None = None
) -> ProgramOutput:
    """Run a program to its end, or for `limit_s`; then it is killed with all that it started.

    :param words: its name, found on the machine's ``PATH``, and its arguments.
    :param settings: environment variables, besides the machine's own.
    """
    program = shutil.which(words[0], path=machine.environ.get("PATH", os.defpath))
    if program is None:
        return ProgramOutput(None, found=False)
    # In memory: a full disk is among what is to be found, and a pipe ends only when every grandchild does.
    with _memory_file() as out, _memory_file() as err:
        child = start(
            [program, *words[1:]],
            {**machine.environ, "LC_ALL": "C.UTF-8", **(settings or {})},
            cwd="/",
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        status: int | None
        try:
            status = child.wait(limit_s)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(DYING_S)
        return ProgramOutput(status, _content(out), _content(err))


def run_python(machine: Host, words: Sequence[str], limit_s: float) -> ProgramOutput:
    """Run this Python, with the same packages, like :func:`run_program`."""
    command = python_words(*words, python=machine.python)
    return run_program(machine, command, limit_s, python_environ(machine.environ))


def _memory_file() -> IO[bytes]:
    return os.fdopen(os.memfd_create("output"), "w+b")


def _content(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(LARGEST_OUTPUT).decode("utf-8", "replace")

"""Run other programs with a time limit, so that none can hang the doctor."""

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
"""How long to wait for a killed program that hangs in the kernel (a camera driver, a dead disk)."""


@dataclass(frozen=True, slots=True)
class ProgramOutput:
    """What a program printed, and how it ended."""

    status: int | None
    """The exit status; negative: the signal that killed it; None: timeout, or the program is missing."""
    out: str = ""
    err: str = ""
    found: bool = True
    """Whether the program exists."""

    @property
    def last_error(self) -> str:
        """The last line that it wrote to standard error."""
        return (self.err.strip().splitlines() or [""])[-1]


def run_program(
    machine: Host, words: Sequence[str], limit_s: float, settings: Mapping[str, str] | None = None
) -> ProgramOutput:
    """Run a program; after `limit_s`, kill it and all its child processes.

    :param words: its name, found on the machine's ``PATH``, and its arguments.
    :param settings: additional environment variables.
    """
    program = shutil.which(words[0], path=machine.environ.get("PATH", os.defpath))
    if program is None:
        return ProgramOutput(None, found=False)
    # In memory, because the disk may be full, and because a pipe stays open until every grandchild ends.
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

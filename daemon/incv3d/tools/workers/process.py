"""Start worker processes, send them commands, and let them take turns."""

from __future__ import annotations

import contextlib
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec

from incv3d.child_process import decode, encode, start_python
from incv3d.errors import Incv3dError
from incv3d.machine import ProcessMemory, process_memory
from incv3d.tools.workers.protocol import ErrorReply

REPLY_TIMEOUT_S = 1800
"""A Raspberry Pi 3 that swaps needs minutes to import TensorFlow."""
PAUSE_S = 0.02
"""Between two turns. A library's idle threads spin for a while, which must not slow down the next worker."""
Reply = TypeVar("Reply", bound=msgspec.Struct)
Item = TypeVar("Item")


class WorkerFailed(Incv3dError):
    """A worker could not start, or stopped early."""


class WorkerProcess:
    """One worker, until :meth:`kill`: a Python process that runs :func:`incv3d.tools.workers.serve.serve`.

    It has its own process group, so that Ctrl-C reaches only this program, which then ends it. If this
    program dies, the worker's standard input ends, and so does the worker.

    :param module: the worker's program.
    :param job: its argument.
    """

    def __init__(self, module: str, job: msgspec.Struct) -> None:
        self.started = time.perf_counter()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by kill()
        self._process = start_python(
            ["-m", module, encode(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
        )

    def receive(self, kind: type[Reply]) -> Reply:
        """Wait for the worker's next reply.

        :raises WorkerFailed: if it reports an error, ends or does not reply in time.
        """
        assert self._process.stdout
        if not select.select([self._process.stdout], [], [], REPLY_TIMEOUT_S)[0]:
            raise WorkerFailed(f"no answer within {REPLY_TIMEOUT_S} s")
        line = self._process.stdout.readline()
        if not line:
            raise WorkerFailed(self._reason())
        try:
            return decode(line, kind)
        except msgspec.ValidationError:
            raise WorkerFailed(decode(line, ErrorReply).failed) from None

    def ask(self, command: str, kind: type[Reply]) -> Reply:
        """Send a command, and wait for the reply.

        :raises WorkerFailed: like :meth:`receive`.
        """
        assert self._process.stdin
        try:
            self._process.stdin.write(f"{command}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerFailed(self._reason()) from None
        return self.receive(kind)

    def memory(self) -> ProcessMemory:
        """Return the worker's memory so far.

        :raises WorkerFailed: if it has ended.
        """
        found = process_memory(self._process.pid)
        if found is None:
            raise WorkerFailed(self._reason())
        return found

    def kill(self) -> None:
        """End the worker, even if it is busy."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self._errors.close()

    def _reason(self) -> str:
        status = self._process.wait()
        if status < 0:
            # The kernel's OOM killer uses signal 9; a library that gets no memory aborts with 6.
            return f"was killed by signal {-status}; was there too little memory?"
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else f"ended with status {status}"


def take_turns(items: Sequence[Item], rounds: int) -> Iterator[tuple[int, Item]]:
    """Yield the number of each round with each item; the item that comes first changes every round.

    The second of two finds the caches as the first left them; so the first place rotates. An item that
    the caller removes from `items` has no turn in later rounds.
    """
    for number in range(rounds):
        first = number % len(items) if items else 0
        for item in [*items[first:], *items[:first]]:
            time.sleep(PAUSE_S)
            yield number, item

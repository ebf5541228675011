"""Child processes that open an engine each and do what they are told."""

from __future__ import annotations

import select
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from incv3d.child_process import start_python
from incv3d.tools.bench.errors import BenchError
from incv3d.tools.bench.worker_protocol import (
    Command,
    ErrorReply,
    Job,
    OpenReply,
    RunReply,
    TraceReply,
    encode_job,
)

MODULE = "incv3d.tools.bench.worker"
PATIENCE_S = 1800
"""A Raspberry Pi 3 that swaps needs minutes to import TensorFlow."""
Answer = TypeVar("Answer", OpenReply, RunReply, TraceReply)


class WorkerFailed(BenchError):
    """An engine could not be opened, or stopped in the middle."""


@dataclass(frozen=True, slots=True)
class Memory:
    """A process's memory, MiB."""

    peak_mb: float
    anonymous_mb: float
    """What no file holds: the kernel cannot take it back."""


class WorkerProcess:
    """One engine in one process, until :meth:`kill`.

    It has a process group of its own: Ctrl-C is this program's affair, which ends it in its own time. If this
    program dies, its standard input ends, and so does it.
    """

    def __init__(self, job: Job) -> None:
        self.engine = job.engine
        self.started = time.perf_counter()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by kill()
        self._process = start_python(
            ["-m", MODULE, encode_job(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            start_new_session=True,
        )

    def opened(self) -> OpenReply:
        """Wait until it is open.

        :raises ChildFailed: when it cannot be opened.
        """
        return self._hear(OpenReply)

    def run(self) -> RunReply:
        """One timed run."""
        return self._do("run", RunReply)

    def trace(self) -> TraceReply:
        """One traced run."""
        return self._do("trace", TraceReply)

    def empty(self) -> RunReply:
        """One call without the network."""
        return self._do("empty", RunReply)

    def memory(self) -> Memory:
        """Its memory so far: ``VmHWM`` and ``RssAnon`` of proc(5)."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text("ascii", "replace").splitlines()
        status = dict(line.split(":", 1) for line in lines if ":" in line)
        peak, anonymous = (int(status[key].split()[0]) / 1024 for key in ("VmHWM", "RssAnon"))
        return Memory(peak, anonymous)

    def kill(self) -> None:
        """The end, whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue
        self._said.close()

    def _do(self, command: Command, kind: type[Answer]) -> Answer:
        assert self._process.stdin
        try:
            self._process.stdin.write(f"{command}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerFailed(self._why()) from None
        return self._hear(kind)

    def _hear(self, kind: type[Answer]) -> Answer:
        assert self._process.stdout
        if not select.select([self._process.stdout], [], [], PATIENCE_S)[0]:
            raise WorkerFailed(f"no answer within {PATIENCE_S} s")
        line = self._process.stdout.readline()
        if not line:
            raise WorkerFailed(self._why())
        try:
            return msgspec.json.decode(line, type=kind)
        except msgspec.ValidationError:
            raise WorkerFailed(msgspec.json.decode(line, type=ErrorReply).failed) from None

    def _why(self) -> str:
        status = self._process.wait()
        if status < 0:
            # The kernel's killer of processes uses 9; a library that gets no memory ends with 6.
            return f"was killed by signal {-status}; was there too little memory?"
        self._said.seek(0)
        said = self._said.read().decode("utf-8", "replace").strip().splitlines()
        return said[-1] if said else f"ended with status {status}"

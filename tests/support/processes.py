"""Starts the real ``incv3d`` and listens to what it says."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path

PATIENCE_S = 120
"""Far more than anything here takes; a test that waits so long has failed."""


def environment(state: Path, **extra: str) -> dict[str, str]:
    """The environment of an ``incv3d`` that keeps everything in `state`, and fetches nothing by itself."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("INCV3D_", "LOGS_"))}
    own = {"STATE_DIRECTORY": str(state), "INCV3D_CONFIG": "", "INCV3D_FETCH_WAIT_S": "0"}
    return {**clean, **own, **extra}


def run_incv3d(
    state: Path, *words: str, stdin: bytes = b"", **extra: str
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "incv3d", *words],
        env=environment(state, **extra),
        input=stdin,
        capture_output=True,
        timeout=PATIENCE_S,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


class DaemonProcess:
    """``incv3d run`` as a process of its own, its door and results on sockets in `folder`."""

    program = ("-m", "incv3d", "run")

    def __init__(self, state: Path, folder: Path, *words: str, **extra: str) -> None:
        self.door = f"ipc://{folder}/door"
        self.results = f"ipc://{folder}/results"
        self.log = folder / "latency.log"
        addresses = {
            "INCV3D_BIND": self.door,
            "INCV3D_PUBLISH": self.results,
            "INCV3D_LATENCY_LOG": str(self.log),
        }
        self.process = subprocess.Popen(
            [sys.executable, *self.program, *words],
            env=environment(state, **{**addresses, **extra}),
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def wait_for(self, words: str) -> str:
        """The next line of its log with `words` in it."""
        while (line := self._lines.get(timeout=PATIENCE_S)) is not None:
            self.said.append(line)
            if words in line:
                return line
        raise AssertionError(f"it ended without saying {words!r}; it said:\n" + "\n".join(self.said))

    def unread(self) -> int:
        """Lines of its log that nobody waited for yet."""
        return self._lines.qsize()

    def ready(self) -> DaemonProcess:
        """Itself, once it is warm."""
        self.wait_for("READY")
        return self

    def url(self) -> str:
        """Where it serves HTTP, once it says so; to be asked once, before :meth:`ready`."""
        return self.wait_for("health and metrics at").split()[-1]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Its exit status; what it still said is in ``said``."""
        status = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        while (line := self._lines.get(timeout=PATIENCE_S)) is not None:
            self.said.append(line)
        assert self.process.stderr
        self.process.stderr.close()
        return status

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """The end, whatever state it is in."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(PATIENCE_S)
        if self.process.stderr:
            self.process.stderr.close()

    def facts(self, name: str) -> str:
        """A line of its ``/proc/PID/status``: ``VmRSS``, ``Threads``."""
        status = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        return next(line.split(":")[1].strip() for line in status.splitlines() if line.startswith(name))


class ScriptedDaemon(DaemonProcess):
    """The real daemon with a Session that behaves as `script` says: see ``scripted_daemon.py``."""

    program = (str(Path(__file__).with_name("scripted_daemon.py")),)

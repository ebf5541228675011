"""The whole daemon on an emulated Raspberry Pi 3 processor, asked from this machine: ``tests/run --pi3``.

``build`` makes the root of an arm64 Debian; QEMU's user mode runs ``incv3d run`` in it under this machine's
kernel, as a Cortex-A53 without AES and SHA. With each engine the daemon tells a notify socket that it is
ready, answers a picture over TCP with the labels that this machine finds itself, and ends at SIGTERM.
Emulated seconds compare with each other only, and emulation adds to the memory. Ends with status 1 where
anything is otherwise.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from emulation import ENGINES, TOOLS, Predictions, agrees, classify, emulated, laboratory, proc_in, set_up

from notify import NotifySocket

LIMIT_S = 1200
"""Nothing that is emulated here takes a third of it."""
LOOK_EVERY_S = 5.0
"""So often it is seen whether a daemon that says nothing is still there."""


def main() -> int:
    with laboratory(TOOLS) as lab, proc_in(lab):
        right = [visit(lab, engine) for engine in ENGINES]
    return 0 if all(right) else 1


def visit(lab: Path, engine: str) -> bool:
    """Whether the emulated daemon does with this engine what this machine does."""
    model = set_up(lab, engine)
    print(f"pi3: {engine}, {model}, on an emulated Cortex-A53:", flush=True)
    there, status = ask_emulated(lab, engine)
    right = agrees(there, lab, engine) and status == 0
    print(f"pi3: {engine}: {'ok' if right else 'FAILED'}", flush=True)
    return right


def ask_emulated(lab: Path, engine: str) -> tuple[Predictions, int]:
    """The answer of an emulated daemon, and the status with which it ended; prints its life."""
    root = lab / "root"
    door = f"tcp://127.0.0.1:{free_port()}"
    words = ("run", "--config", f"/srv/{engine}.yaml", "--bind", door)
    with notify_socket(root / "run") as notify, (lab / f"{engine}.log").open("w") as log:
        started = time.monotonic()
        daemon = subprocess.Popen(emulated(root, *words, NOTIFY_SOCKET="/run/notify"), stderr=log)
        try:
            wait_until_ready(daemon, notify, Path(log.name))
            print(f"  READY=1 after {time.monotonic() - started:.0f} s", flush=True)
            asked = time.monotonic()
            predictions = classify(dict(os.environ), "--connect", door, "--timeout", str(LIMIT_S))
            print(f"  answered after {time.monotonic() - asked:.0f} s")
            print(f"  memory: {memory(daemon.pid)}", flush=True)
            stopped = time.monotonic()
            daemon.send_signal(signal.SIGTERM)
            status = daemon.wait(LIMIT_S)
            told = ", ".join(each for each in notify.rest() if each == "STOPPING=1")
            print(f"  SIGTERM: {told}; ended after {time.monotonic() - stopped:.1f} s with status {status}")
        finally:
            daemon.kill()
            daemon.wait()
    return predictions, status


@contextlib.contextmanager
def notify_socket(folder: Path) -> Iterator[NotifySocket]:
    """Bound from within `folder`: the whole path may be longer than the 108 characters of an address."""
    (folder / "notify").unlink(missing_ok=True)
    with contextlib.chdir(folder):
        notify = NotifySocket("notify", LOOK_EVERY_S)
    with contextlib.closing(notify):
        yield notify


def wait_until_ready(daemon: subprocess.Popen[bytes], notify: NotifySocket, log: Path) -> None:
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline and daemon.poll() is None:
        with contextlib.suppress(TimeoutError):
            if notify.next() == "READY=1":
                return
    sys.exit(f"pi3: the daemon did not become ready; it said:\n{log.read_text()}")


def memory(pid: int) -> str:
    """Of the emulated process, with what the emulator keeps for itself."""
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    sizes = dict(line.split(":", 1) for line in lines if ":" in line)
    wanted = ("VmHWM", "VmRSS", "RssAnon")
    return ", ".join(f"{each} {int(sizes[each].split()[0]) // 1024} MB" for each in wanted)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())

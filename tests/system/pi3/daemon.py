"""The whole daemon on an emulated Raspberry Pi 3 processor, asked from this machine: ``tests/run --pi3``.

``build`` makes the root of an arm64 Debian; QEMU's user mode runs ``incv3d run`` in it under this machine's
kernel, as a Cortex-A53 without AES and SHA. With each engine the daemon tells a notify socket that it is
ready, answers a picture over TCP with the labels that this machine finds itself, and ends at SIGTERM.
Emulated seconds compare with each other only, and emulation adds to the memory. Ends with status 1 where
anything is otherwise.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[2]
sys.path.insert(0, str(CHECKOUT / "tests"))

from notify import NotifySocket  # noqa: E402 - a script finds the modules of the tests so
from processes import environment  # noqa: E402

PICTURE = CHECKOUT / "daemon/incv3d/sources/demo/cat.jpg"
TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "qemu-aarch64-static": "qemu-user-static",
    "update-binfmts": "binfmt-support",
}
ENGINES = {"tensorflow": ("standin", "efficientnet-lite0"), "litert": ("efficientnet-lite0",)}
"""What each runs: the first that there is. The stand-in for Inception-v3 is a large file, kept elsewhere."""
LIMIT_S = 1200
"""Nothing that is emulated here takes a third of it."""
LOOK_EVERY_S = 5.0
"""So often it is seen whether a daemon that says nothing is still there."""
TOLERANCE = 0.001
"""How far a score may be from this machine's, whose sums are in another order."""

Predictions = list[dict[str, Any]]


def main() -> int:
    if os.geteuid() != 0:
        sys.exit("pi3: must be root, to make a root directory of another architecture")
    if missing := [package for tool, package in TOOLS.items() if not shutil.which(tool)]:
        sys.exit(f"pi3: type: apt-get install {' '.join(missing)}")
    lab = Path(os.environ.get("INCV3D_LAB") or CHECKOUT / ".incv3d/pi3").resolve()
    lab.mkdir(parents=True, exist_ok=True)
    with (lab / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run([HERE / "build", lab], env={**os.environ, "PYTHON": sys.executable}, check=True)
        with proc_in(lab / "root"):
            right = [visit(lab, engine) for engine in ENGINES]
    return 0 if all(right) else 1


def visit(lab: Path, engine: str) -> bool:
    """Whether the emulated daemon does with this engine what this machine does."""
    model = next(each for each in ENGINES[engine] if (lab / f"{each}.tar").exists())
    root = lab / "root"
    config = root / "srv/incv3d.yaml"
    config.write_text(json.dumps(settings(engine, model)))
    imported = emulated(root, "model", "import", f"/srv/{model}.tar", "--replace")
    subprocess.run(imported, stdout=subprocess.DEVNULL, check=True)
    print(f"pi3: {engine}, {model}, on an emulated Cortex-A53:", flush=True)
    there, status = ask_emulated(lab, engine)
    here = classify(environment(lab / "state"), "--config", str(config))
    for name, predictions in (("emulated", there), ("here", here)):
        print(f"  {name:9}", ", ".join(f"{each['label']} {each['score']:.5f}" for each in predictions))
    right = status == 0 and alike(there, here)
    print(f"pi3: {engine}: {'ok' if right else 'FAILED'}", flush=True)
    return right


def settings(engine: str, model: str) -> dict[str, Any]:
    """An emulated run takes half a minute: it is not for the daemon to find that it hangs."""
    return {
        "model": {"name": model, "top_k": 3},
        "session": {"engine": engine, "threads": 4, "warmup_runs": 1, "run_limit_s": 0},
        "intake": {"publish": ""},
        "daemon": {"grace_s": 300},
    }


def ask_emulated(lab: Path, engine: str) -> tuple[Predictions, int]:
    """The answer of an emulated daemon, and the status with which it ended; prints its life."""
    root = lab / "root"
    door = f"tcp://127.0.0.1:{free_port()}"
    command = emulated(
        root, "run", "--config", "/srv/incv3d.yaml", "--bind", door, NOTIFY_SOCKET="/run/notify"
    )
    with notify_socket(root / "run") as notify, (lab / f"{engine}.log").open("w") as log:
        started = time.monotonic()
        daemon = subprocess.Popen(command, stderr=log)
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


def classify(environ: dict[str, str], *options: str) -> Predictions:
    """What ``incv3d classify`` of this machine says of the picture."""
    command = [sys.executable, "-m", "incv3d", "classify", "--json", "--top-k", "3", *options, str(PICTURE)]
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, check=True)
    found: Predictions = json.loads(done.stdout)["predictions"]
    return found


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


@contextlib.contextmanager
def proc_in(root: Path) -> Iterator[None]:
    subprocess.run(["mount", "-t", "proc", "proc", root / "proc"], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", root / "proc"], check=True)


def emulated(root: Path, *words: str, **extra: str) -> list[str]:
    """The command line of an ``incv3d`` in `root`."""
    own = {"PATH": "/usr/bin:/bin", "HOME": "/root", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
    environ = {**own, "QEMU_CPU": "cortex-a53", "STATE_DIRECTORY": "/var/lib/incv3d", **extra}
    python = ["/qemu", "/opt/incv3d/current/bin/python", "-m", "incv3d"]
    settings = [f"{name}={value}" for name, value in environ.items()]
    return ["chroot", str(root), "/qemu", "/usr/bin/env", "-i", *settings, *python, *words]


def alike(there: Predictions, here: Predictions) -> bool:
    """The same labels in the same order, with the same scores."""
    return len(there) == len(here) and all(
        one["label"] == other["label"] and abs(one["score"] - other["score"]) <= TOLERANCE
        for one, other in zip(there, here, strict=True)
    )


if __name__ == "__main__":
    sys.exit(main())

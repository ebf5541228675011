"""What the emulated processor and the emulated machine share: the root, and what is expected."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from counting import make_view

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[2]
sys.path.insert(0, str(CHECKOUT / "tests/support"))

from processes import environment  # noqa: E402 - a script finds the modules of the tests so

PICTURE = CHECKOUT / "daemon/incv3d/images/demo/cat.jpg"
TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "arch-test": "arch-test",
    "qemu-aarch64-static": "qemu-user-static",
    "depmod": "kmod",
}
"""Programs, and Debian's packages in which they are."""
ENGINES = {"tensorflow": ("standin", "efficientnet-lite0"), "litert": ("efficientnet-lite0",)}
"""What each runs: the first that there is. The stand-in for Inception-v3 is a large file, kept elsewhere."""
TOLERANCE = 0.001
"""How far a score may be from this machine's, whose sums are in another order."""

Predictions = list[dict[str, Any]]


@contextlib.contextmanager
def laboratory(tools: dict[str, str]) -> Iterator[Path]:
    """The folder with what ``build`` made, for one at a time, its root ready to be entered."""
    if os.geteuid() != 0:
        sys.exit("pi3: must be root, to make a root directory of another architecture")
    if missing := [package for tool, package in tools.items() if not shutil.which(tool)]:
        sys.exit(f"pi3: type: apt-get install {' '.join(missing)}")
    lab = Path(os.environ.get("INCV3D_LAB") or CHECKOUT / ".incv3d/pi3").resolve()
    lab.mkdir(parents=True, exist_ok=True)
    with (lab / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make("build", lab)
        yield lab


def make(script: str, lab: Path) -> None:
    subprocess.run([HERE / script, lab], env={**os.environ, "PYTHON": sys.executable}, check=True)


@contextlib.contextmanager
def proc_in(lab: Path) -> Iterator[None]:
    """Let programs in the root see their processes, and the processor of a Raspberry Pi 3.

    Without it, XNNPACK does not know the processor, and LiteRT runs its slow reference kernels.
    """
    root, view = lab / "root", lab / "view"
    make_view(root, view)
    with contextlib.ExitStack() as mounted:
        for what, where in (
            (["-t", "proc", "proc"], root / "proc"),
            (["--bind", view / "proc/cpuinfo"], root / "proc/cpuinfo"),
            (["--bind", view / "sys"], root / "sys"),
        ):
            subprocess.run(["mount", *what, where], check=True)
            mounted.callback(subprocess.run, ["umount", where], check=True)
        yield


def emulated(root: Path, *words: str, **extra: str) -> list[str]:
    """The command line of an ``incv3d`` in `root`."""
    own = {"PATH": "/usr/bin:/bin", "HOME": "/root", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
    environ = {**own, "QEMU_CPU": "cortex-a53", "STATE_DIRECTORY": "/var/lib/incv3d", **extra}
    python = ["/opt/incv3d/current/bin/python", "-m", "incv3d"]
    settings = [f"{name}={value}" for name, value in environ.items()]
    return ["chroot", str(root), "/usr/bin/env", "-i", *settings, *python, *words]


def shared(name: str) -> Path:
    """Return where a part of the large test data is, which may be missing."""
    return Path(os.environ.get("INCV3D_SHARED") or CHECKOUT.parent / "shared") / name


def set_up(lab: Path, engine: str) -> str:
    """Give the root a model for this engine, and its configuration; the model's name."""
    root = lab / "root"
    model = next(each for each in ENGINES[engine] if (lab / f"{each}.tar").exists())
    imported = emulated(root, "model", "import", f"/srv/{model}.tar", "--replace")
    subprocess.run(imported, stdout=subprocess.DEVNULL, check=True)
    configuration(lab, engine).write_text(json.dumps(settings(engine, model)))
    return model


def configuration(lab: Path, engine: str) -> Path:
    return lab / "root/srv" / f"{engine}.yaml"


def settings(engine: str, model: str) -> dict[str, Any]:
    """An emulated run takes half a minute: it is not for the daemon to find that it hangs."""
    return {
        "model": {"name": model, "top_k": 3},
        "session": {"engine": engine, "threads": 4, "warmup_runs": 1, "run_limit_s": 0},
        "intake": {"publish": ""},
        "daemon": {"grace_s": 300},
    }


def classify(environ: dict[str, str], *options: str) -> Predictions:
    """What ``incv3d classify`` of this machine says of the picture."""
    command = [sys.executable, "-m", "incv3d", "classify", "--json", "--top-k", "3", *options, str(PICTURE)]
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, check=True)
    found: Predictions = json.loads(done.stdout)["predictions"]
    return found


def agrees(there: Predictions, lab: Path, engine: str) -> bool:
    """Whether a Session of this machine has the same labels in the same order, with the same scores."""
    here = classify(environment(lab / "state"), "--config", str(configuration(lab, engine)))
    for name, predictions in (("emulated", there), ("here", here)):
        print(f"  {name:9}", ", ".join(f"{each['label']} {each['score']:.5f}" for each in predictions))
    return len(there) == len(here) and all(
        one["label"] == other["label"] and abs(one["score"] - other["score"]) <= TOLERANCE
        for one, other in zip(there, here, strict=True)
    )

"""A Python without the parts of venv that Debian packages separately: one line says what to install."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from processes import PATIENCE_S

CHECKOUT = Path(__file__).parent.parent
NEEDED = ("daemon/environment.sh", "setup.py", "pyproject.toml", "systemd/constraints.txt",
          "systemd/quantizer.txt", "daemon/incv3d/__init__.py")  # fmt: skip
DEBIAN_WITHOUT_VENV = "raise ModuleNotFoundError(\"No module named 'ensurepip'\")\n"
"""What `import ensurepip` does there."""


class Machine:
    """A checkout, and commands that go before those of this machine."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "checkout"
        for path in NEEDED:
            (self.checkout / path).parent.mkdir(parents=True, exist_ok=True)
            (self.checkout / path).write_bytes((CHECKOUT / path).read_bytes())
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.noted = folder / "noted"
        self.ensurepip = folder / "debian" / "ensurepip.py"
        self.ensurepip.parent.mkdir()
        self.ensurepip.write_text(DEBIAN_WITHOUT_VENV)
        words = shlex.join(["env", f"PYTHONPATH={self.ensurepip.parent}", sys.executable])
        self.command("python3", f'exec {words} "$@"')

    def command(self, name: str, script: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def is_user(self, number: int) -> None:
        self.command("id", f"echo {number}")

    def has_apt(self, then: str) -> None:
        self.command("apt-get", f'echo apt-get "$@" >>{self.noted}; [ $1 = update ] || {then}')

    def sh(self, script: str) -> subprocess.CompletedProcess[str]:
        environ = {key: value for key, value in os.environ.items() if key != "PYTHON"}
        return subprocess.run(
            ["sh", "-c", f"set -eu; {script}"], env={**environ, "PATH": f"{self.bin}:{environ['PATH']}"},
            capture_output=True, text=True, timeout=PATIENCE_S,
        )  # fmt: skip

    def prepare(self) -> subprocess.CompletedProcess[str]:
        """Do what ``daemon/run`` does first, but for the environment itself, which takes long."""
        script = f"{self.checkout}/daemon/environment.sh"
        later = f"install_packages() {{ :; }}; make_venv() {{ mkdir {self.checkout}/.venv; }}"
        return self.sh(f". {script}; {later}; prepare_environment {self.checkout}")

    def install_packages(self) -> subprocess.CompletedProcess[str]:
        """Do what ``systemd/install`` does first."""
        here = CHECKOUT / "systemd"
        return self.sh(f"here={here} dry= camera= wheels= release=; . {here}/steps.sh; install_packages")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_user_is_told_what_to_type(machine: Machine) -> None:
    machine.is_user(1000)
    machine.has_apt("false")
    done = machine.prepare()
    assert done.returncode == 1
    assert done.stderr == "incv3d: Python's venv module is missing; run: sudo apt-get install python3-venv\n"
    assert done.stdout == "" and not machine.noted.exists()
    assert not (machine.checkout / ".venv").exists()


def test_root_has_it_installed(machine: Machine) -> None:
    machine.is_user(0)
    machine.has_apt(f"rm {machine.ensurepip}")
    done = machine.prepare()
    assert done.returncode == 0, done.stderr
    assert machine.noted.read_text() == "apt-get update -q\napt-get install -y -q python3-venv\n"
    assert done.stdout.startswith("incv3d: installing Debian's python3-venv\n")
    assert (machine.checkout / ".venv").exists()


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (Machine.prepare, "incv3d: apt-get could not install python3-venv\n"),
        (
            Machine.install_packages,
            "incv3d: apt-get could not install python3-venv (see its message above)\n",
        ),
    ],
    ids=["daemon/run", "systemd/install"],
)
def test_without_the_network_root_is_told_which_package_did_not_come(
    machine: Machine, what: Callable[[Machine], subprocess.CompletedProcess[str]], said: str
) -> None:
    machine.is_user(0)
    machine.has_apt("exit 100")
    # Debian's own list of packages, on a machine that has all but this one.
    machine.command("dpkg-query", 'case "$*" in *python3-venv*) exit 1;; esac; echo "install ok installed"')
    done = what(machine)
    assert done.returncode == 1
    assert done.stderr == said
    assert "install" in machine.noted.read_text()

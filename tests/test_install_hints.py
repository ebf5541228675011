"""The advice to install a library can be typed as it stands."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from incv3d.errors import pip_install
from incv3d.transports.errors import SettingError
from incv3d.transports.http.transport import HttpTransport

CODE = Path(__file__).parents[1] / "daemon" / "incv3d"


def test_the_command_is_that_of_the_environment_that_runs() -> None:
    words = shlex.split(pip_install("numpy<2", "pyzmq"))
    assert words[-6:] == [sys.executable, "-m", "pip", "install", "numpy<2", "pyzmq"]
    # The program and its module are there; nothing is installed.
    done = subprocess.run([*words[-6:-1], "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "Install Options" in done.stdout


def test_an_environment_of_root_takes_sudo(monkeypatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert pip_install("av").startswith(f"sudo {sys.executable} -m pip install av")


def test_the_libraries_of_http_are_named_for_pip(monkeypatch) -> None:
    monkeypatch.setattr("incv3d.transports.errors.find_spec", lambda name: None)
    with pytest.raises(SettingError) as raised:
        HttpTransport.require_libraries()
    assert str(raised.value).endswith("-m pip install aiohttp prometheus-client")


def test_no_message_gives_advice_that_works_in_some_shells_only() -> None:
    for file in CODE.rglob("*.py"):
        for line in file.read_text("utf-8").splitlines():
            bare = re.search(r"(?<!-m )pip install|incv3d\[", line)
            assert not bare or file == CODE / "errors.py", f"{file.name}: {line.strip()}"


def test_help_needs_no_environment(tmp_path: Path) -> None:
    """In a checkout where nothing is installed yet, and nothing is by asking for help."""
    checkout = tmp_path / "incv3d"
    (checkout / "daemon").mkdir(parents=True)
    for name in ("run", "environment.sh", "help.txt"):
        shutil.copy(CODE.parent / name, checkout / "daemon" / name)
    for words in (["--help"], ["-h"], ["--http", "127.0.0.1:8080", "--help"]):
        done = subprocess.run([checkout / "daemon" / "run", *words], capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.startswith("Usage: daemon/run") and not done.stderr
    assert sorted(each.name for each in checkout.iterdir()) == ["daemon"]


def test_the_help_of_the_checkout_is_that_of_the_command() -> None:
    command = subprocess.run(
        [sys.executable, "-m", "incv3d", "run", "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "100"},
    )
    wanted = command.stdout.split("Options:")[1].split()
    assert (CODE.parent / "help.txt").read_text("utf-8").split("Options:")[1].split() == wanted

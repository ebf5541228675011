"""The client alone, as another machine installs it: with pyzmq and msgspec, on systems without POSIX too."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from doubles import jpeg
from incv3d import __version__
from processes import PATIENCE_S, ScriptedDaemon

CHECKOUT = Path(__file__).resolve().parents[2]
UNREACHABLE = ("No matching distribution found for setuptools", "Failed to establish a new connection")
ABSENT = (
    *("fcntl", "grp", "pwd", "resource", "termios"),  # on Windows
    *("PIL", "aiohttp", "click", "numpy", "requests", "rich", "simplejpeg", "tensorflow", "yaml"),
)
PROGRAM = """
import json, os, subprocess, sys  # the standard library's own imports of what Windows does not have
for name in json.loads(sys.argv[1]):
    assert name not in sys.modules or name in ("fcntl", "pwd", "grp", "resource", "termios"), name
    sys.modules[name] = None  # from now on, importing it fails
for name in ("O_NONBLOCK", "O_CLOEXEC", "chown", "fork", "geteuid", "pipe2", "sched_getaffinity"):
    delattr(os, name)
from incv3d.client import Client, events, results
from incv3d.protocol.curve_keys import KeyFileError
import incv3d
picture = open(sys.argv[3], "rb").read()
with Client(sys.argv[2], timeout_s=30) as client:
    first = client.classify(sys.argv[3], ttl_ms=30_000)
    pixels = client.classify_pixels(memoryview(bytes(48)).cast("B", (4, 4, 3)))
    answers = [first.predictions[0].label, pixels.status, client.ask("ping")["state"]]
    print(json.dumps([incv3d.__file__, *answers]))
try:
    Client(sys.argv[2], key=sys.argv[3])
except KeyFileError as error:
    assert "it contains no keys" in str(error), error
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the client is made of, in which building may leave its files."""
    copy = tmp_path_factory.mktemp("checkout") / "daemon"
    ignored = shutil.ignore_patterns("__pycache__", "build", "*.egg-info", "demo", "static", "data")
    shutil.copytree(CHECKOUT / "daemon", copy, ignore=ignored)
    return copy


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[ScriptedDaemon]:
    (tmp_path / "incv3d.yaml").write_text("{}")
    process = ScriptedDaemon(tmp_path, tmp_path, str(tmp_path / "incv3d.yaml"))
    yield process.ready()
    assert process.stop() == 0, process.said


def classify(
    python: Path | str, daemon: ScriptedDaemon, folder: Path, **environ: str
) -> tuple[Path, list[str]]:
    """Where the client was imported from, and what it was answered."""
    image = folder / "picture.jpg"
    image.write_bytes(jpeg())
    done = subprocess.run(
        [str(python), "-c", PROGRAM, json.dumps(ABSENT), daemon.door, str(image)],
        env={"PATH": os.environ["PATH"], **environ},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    found, *answers = json.loads(done.stdout)
    return Path(found), answers


def test_the_client_needs_nothing_of_posix_and_nothing_heavy(checkout, daemon, tmp_path: Path) -> None:
    target = tmp_path / "installed"
    words = ("install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(target))
    subprocess.run([sys.executable, "-m", "pip", *words, str(checkout / "client")], check=True)
    found, answers = classify(sys.executable, daemon, tmp_path, PYTHONPATH=str(target))
    assert found.is_relative_to(target) and answers == ["label 1", "ok", "ready"]


def test_one_command_installs_it_beside_pyzmq_and_msgspec_alone(checkout, daemon, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    installed = subprocess.run(
        [str(python), "-m", "pip", "install", "--retries", "0", str(checkout / "client")],
        capture_output=True,
        text=True,
    )
    if installed.returncode and any(words in installed.stderr for words in UNREACHABLE):
        pytest.skip("PyPI cannot be reached")
    assert installed.returncode == 0, installed.stderr
    listed = subprocess.run(
        [str(python), "-m", "pip", "list", "--format", "json", "--exclude", "pip", "--exclude", "setuptools"],
        capture_output=True,
        check=True,
    )
    assert {each["name"] for each in json.loads(listed.stdout)} == {"incv3d-client", "msgspec", "pyzmq"}
    found, answers = classify(python, daemon, tmp_path)
    assert found.is_relative_to(tmp_path / "venv") and answers == ["label 1", "ok", "ready"]


def test_it_has_the_daemons_version(checkout: Path) -> None:
    words = [sys.executable, "setup.py", "--quiet", "--version"]
    said = subprocess.run(words, cwd=checkout / "client", capture_output=True, text=True, check=True)
    assert said.stdout.split()[-1] == __version__

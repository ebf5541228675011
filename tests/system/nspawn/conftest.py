"""A bare Debian, and what is installed into it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from containers import Container, booted, make_debian, why_not

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def cache() -> Path:
    """Where what takes minutes to make is kept from run to run."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "incv3d-tests"


@pytest.fixture(scope="session")
def debian(cache: Path) -> Path:
    """The root of a bare Debian 12, to be left as it is."""
    if reason := why_not():
        pytest.skip(reason)
    try:
        return make_debian(cache / "nspawn")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no bare Debian could be made, which takes a network the first time: {error}")


@pytest.fixture(scope="session")
def wheels(cache: Path) -> Path:
    """Every package that an installation takes: the container has no network."""
    folder = cache / "nspawn" / "wheels"
    held = CHECKOUT / "systemd/constraints.txt"
    stamp = folder / "constraints.txt"
    if not stamp.exists() or stamp.read_text() != held.read_text():
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", folder, "--constraint", held]
        try:
            subprocess.run([*command, f"{CHECKOUT}[camera,http,mqtt,video]"], check=True)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"the wheels could not be fetched, which takes a network the first time: {error}")
        shutil.copy(held, stamp)
    return folder


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout that a test may spoil."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("daemon", "systemd", "config"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(CHECKOUT / name, folder / name, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(CHECKOUT / name, folder)
    return folder


@pytest.fixture(scope="module")
def machine(debian: Path, wheels: Path, source: Path, tmp_path_factory) -> Iterator[Container]:
    """A freshly booted machine with the checkout in /src and the packages in /wheels."""
    folder = tmp_path_factory.mktemp("machine")
    with booted("incv3d-test", debian, folder, {"/src": source, "/wheels": wheels}) as container:
        yield container

"""A bare Debian, and what is installed into it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from containers import Container, booted, make_debian, run_quietly, why_not

from offline import cache_folder, unless_offline

CHECKOUT = Path(__file__).resolve().parents[3]
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux2014_x86_64")
"""Tags of wheels that Debian 12 and 13 take."""


@pytest.fixture(scope="session")
def cache() -> Path:
    """Where what takes minutes to make is kept from run to run."""
    return cache_folder()


@pytest.fixture(scope="session")
def debian_of(cache: Path) -> Callable[[str], Path]:
    """Returns the root of a bare Debian by the name of its release, to be left as it is."""
    if reason := why_not():
        pytest.skip(reason)

    def make(release: str) -> Path:
        with unless_offline("no bare Debian could be made"):
            return make_debian(cache / "nspawn", release)

    return make


@pytest.fixture(scope="session")
def debian(debian_of: Callable[[str], Path]) -> Path:
    """The root of a bare Debian 12, to be left as it is."""
    return debian_of("bookworm")


@pytest.fixture(scope="session")
def wheels(cache: Path) -> Path:
    """Every package that an installation takes: the container has no network."""
    folder = cache / "nspawn" / "wheels"
    stamp = folder / "made-for"
    if not stamp.exists() or stamp.read_text() != wanted_packages():
        shutil.rmtree(folder, ignore_errors=True)
        with unless_offline("the packages could not be fetched"):
            download(folder, f"{CHECKOUT}[camera,http,mqtt,video]")
        stamp.write_text(wanted_packages())
    return folder


def wanted_packages() -> str:
    """All that says which packages an installation takes."""
    names = ("systemd/constraints.txt", "systemd/quantizer.txt", "setup.py")
    return "".join((CHECKOUT / name).read_text() for name in names)


def download(folder: Path, *words: str | Path) -> None:
    """Fetch packages, and those that convert to int8.

    :param words: for pip.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", folder]
    command += ["--constraint", CHECKOUT / "systemd/constraints.txt"]
    run_quietly(*command, *words)
    options = [word for word in words if str(word).startswith("--")]
    run_quietly(*command, *options, "--no-deps", "--requirement", CHECKOUT / "systemd/quantizer.txt")


@pytest.fixture(scope="session")
def litert_wheels(cache: Path) -> Callable[[str], Path]:
    """Returns a folder with the packages of an installation without TensorFlow, by the version of Python."""

    def fetch(python: str) -> Path:
        folder = cache / "nspawn" / f"wheels-litert-{python}"
        stamp = folder / "made-for"
        if stamp.exists() and stamp.read_text() == wanted_packages():
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        options = ["--only-binary=:all:", f"--python-version={python}"]
        options += [f"--platform={each}" for each in PLATFORMS]
        with unless_offline("the packages could not be fetched"), pytest.MonkeyPatch.context() as patch:
            patch.setenv("INCV3D_INSTALL_ENGINE", "litert")
            download(folder, *options, f"{CHECKOUT}[camera,http,mqtt,video]", "setuptools")
        stamp.write_text(wanted_packages())
        return folder

    return fetch


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


@pytest.fixture(scope="session")
def releases(debian: Path, wheels: Path, source: Path, cache: Path, tmp_path_factory) -> Path:
    """The folder of releases that an installation with these dependencies has made, under a umask of 077.

    Making it is most of what an installation takes: machines that do not test that are given a copy, and make
    their own release of it (:func:`releases.make_release`).
    """
    kept = cache / "nspawn" / "releases"
    stamp = cache / "nspawn" / "releases-of"
    if not stamp.exists() or stamp.read_text() != wanted_packages():
        stamp.unlink(missing_ok=True)
        shutil.rmtree(kept, ignore_errors=True)
        folder = tmp_path_factory.mktemp("releases")
        command = ("sh", "-c", 'umask 077; exec "$@"', "sh", "/src/systemd/install", "--wheels", "/wheels")
        with booted("incv3d-release", debian, folder, {"/src": source, "/wheels": wheels}) as container:
            container.run(*command, "--no-camera", "--no-start")
        shutil.move(folder / "upper/opt/incv3d/releases", kept)
        stamp.write_text(wanted_packages())
    return kept


@pytest.fixture(scope="module")
def machine(debian: Path, wheels: Path, source: Path, tmp_path_factory) -> Iterator[Container]:
    """A freshly booted machine with the checkout in /src and the packages in /wheels."""
    folder = tmp_path_factory.mktemp("machine")
    with booted("incv3d-test", debian, folder, {"/src": source, "/wheels": wheels}) as container:
        yield container

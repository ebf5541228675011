"""Build a wheel of this checkout and install it into a folder, as pip does for a user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from made_once import MadeOnce

CHECKOUT = Path(__file__).resolve().parents[2]
PIP = (sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "--quiet")


def build_wheel(folder: Path, **settings: str) -> Path:
    """Build the wheel from a copy of the checkout and return its path in `folder`.

    :param settings: environment variables.

    :raises subprocess.CalledProcessError: pip failed; its message is on stderr.
    """
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("daemon", "systemd", "config"):
        shutil.copytree(CHECKOUT / name, source / name, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(CHECKOUT / name, source)
    offline = ("--no-deps", "--no-index", "--no-build-isolation")
    subprocess.run(
        [*PIP, "wheel", *offline, "--wheel-dir", folder / "dist", source],
        check=True,
        env={**os.environ, **settings},
    )
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def install_wheel(wheel: Path, folder: Path, *options: str) -> Path:
    """Install `wheel` without its dependencies into `folder`, and return `folder`.

    :param options: for pip.
    """
    offline = ("--no-deps", "--no-index")
    subprocess.run([*PIP, "install", *offline, *options, "--target", folder, wheel], check=True)
    return folder


def wheel_made_once(made_once: MadeOnce) -> Path:
    """Return the wheel of this checkout, built by the first worker that needs it."""

    def build(folder: Path) -> None:
        build_wheel(folder)
        shutil.rmtree(folder / "source")

    (wheel,) = made_once.copy("wheel", build).glob("dist/*.whl")
    return wheel


def installed_once(made_once: MadeOnce) -> Path:
    """Return a folder into which that wheel is installed, compiled as an installation is."""
    return made_once.copy("installed-wheel", lambda folder: install_wheel(wheel_made_once(made_once), folder))

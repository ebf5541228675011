"""Build a wheel of this checkout and install it into a folder, as pip does for a user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

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


def install_wheel(wheel: Path, folder: Path) -> Path:
    """Install `wheel` without its dependencies into `folder`, and return `folder`."""
    subprocess.run([*PIP, "install", "--no-deps", "--no-index", "--target", folder, wheel], check=True)
    return folder

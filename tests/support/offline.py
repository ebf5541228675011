"""What needs a network the first time: tests are skipped where there is none."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

OFFLINE = re.compile(
    r".*(Temporary failure|Name or service not known|Could not (resolve|connect)|Unable to connect|"
    r"Cannot initiate the connection|Connection (failed|refused|timed out)|unreachable).*"
)
"""What apt and pip say where no server can be reached."""


def cache_folder() -> Path:
    """Where what takes minutes to make is kept from run to run."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "incv3d-tests"


@contextlib.contextmanager
def unless_offline(what: str) -> Iterator[None]:
    """Skip if a command fails in this block because it reaches no network; fail if it fails otherwise."""
    try:
        yield
    except subprocess.CalledProcessError as error:
        if found := OFFLINE.search(error.stderr):
            pytest.skip(f"{what}, which takes a network the first time: {found[0].strip()}")
        pytest.fail(f"{what}:\n{error.stderr}")

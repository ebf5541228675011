"""What takes long to make is made by the first worker that needs it; each module gets a copy of its own."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SUPPORT = Path(__file__).parent


class MadeOnce:
    """Folders that all workers of a run share."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        base = factory.getbasetemp()
        self._root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
        self._factory = factory

    def copy(self, name: str, make: Callable[[Path], None]) -> Path:
        """Return a new copy of the folder `name`, which `make` fills the first time."""
        folder = self._root / f"made-{name}"
        with (self._root / f"made-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                unfinished = self._root / f"unfinished-{name}"
                shutil.rmtree(unfinished, ignore_errors=True)  # of a test that failed
                unfinished.mkdir()
                make(unfinished)
                unfinished.rename(folder)
        return shutil.copytree(folder, self._factory.mktemp(name) / "copy", symlinks=True)

    def by(self, script: str, *words: str) -> Path:
        """Return a copy of what a script of ``tests/support`` makes in the folder, its last argument."""

        def run(folder: Path) -> None:
            command = [sys.executable, str(SUPPORT / script), *words, str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=600)
            assert done.returncode == 0, done.stderr[-3000:]

        return self.copy("-".join([script.removesuffix(".py"), *words]), run)

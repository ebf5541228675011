"""Graphs that are made and prepared in processes of their own, which may import TensorFlow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec

from incv3d.engines.prepared_model import Job

SCRIPTS = Path(__file__).parent


def job_for(graph: Path, out: Path, fed: str, fetched: str, side: int) -> Job:
    return Job(
        graph=str(graph),
        source_sha256="0",
        input=fed,
        input_shape=(1, side, side, 3),
        output=fetched,
        out=str(out),
    )


def script(name: str, *arguments: str) -> str:
    """What a script in ``tests/models`` prints."""
    command = [sys.executable, str(SCRIPTS / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def prepare_many(jobs: list[Job], folder: Path) -> list[str]:
    """Prepare each in one process; returns each one's error, or an empty string."""
    (folder / "jobs.json").write_bytes(msgspec.json.encode(jobs))
    errors: list[str] = msgspec.json.decode(script("prepare_many.py", str(folder / "jobs.json")))
    return errors

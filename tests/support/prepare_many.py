"""Prepares several graphs in one process: ``python prepare_many.py JOBS.json``.

Prints one JSON list: for each job the error that it met, or an empty string.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from incv3d.engines.prepared_model import Job
from incv3d.models.entry import ModelError
from incv3d.models.graph.prepare_graph import prepare


def attempt(job: Job) -> str:
    try:
        prepare(job)
    except ModelError as error:
        return str(error)
    return ""


jobs = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=list[Job])
sys.stdout.write(msgspec.json.encode([attempt(job) for job in jobs]).decode())

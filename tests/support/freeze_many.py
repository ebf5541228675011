"""Freezes many networks in one process, because importing TensorFlow takes seconds.

Run as ``python freeze_many.py JOBS.json``; prints, as JSON, each job's facts or its error.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import tensorflow  # noqa: F401 - the whole, before the part that GraphDefs take

from incv3d.errors import Incv3dError
from incv3d.models.graph.freeze import freeze
from incv3d.models.graph.freeze_job import FreezeJob, NetworkFacts


def attempt(job: FreezeJob) -> NetworkFacts | str:
    try:
        return freeze(job)
    except Incv3dError as error:
        return str(error)


if __name__ == "__main__":
    jobs = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=list[FreezeJob])
    print(msgspec.json.encode([attempt(job) for job in jobs]).decode())

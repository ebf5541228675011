"""Pack the weights of a flatbuffer into a file: ``python -m incv3d.models.pack_weights JOB``.

Run as a child process by :mod:`incv3d.models.packed_weights`, because XNNPACK aborts the process when the
disk is full.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import msgspec

from incv3d.child_process import decode, report_failures
from incv3d.engines.base import SessionSpec
from incv3d.engines.litert import LiteRTSession
from incv3d.engines.litert_c import NotMappable
from incv3d.engines.weight_cache import INDEX, WEIGHTS, WeightIndex, checksum_of, origin_of
from incv3d.models.files import write_atomically

UNFINISHED = ".weights-"
"""The beginning of the name of a file that is being written."""


class PackJob(msgspec.Struct, frozen=True, kw_only=True):
    """A flatbuffer whose weights are to be packed, passed to the child process as JSON."""

    spec: SessionSpec
    sha256: str
    """SHA-256 of the flatbuffer."""


def pack(job: PackJob) -> None:
    """Write the packed weights beside the flatbuffer, then their index.

    If XNNPACK cannot map this network's weights, write an index that says why.

    :raises SessionError: the network cannot be run.
    :raises OSError: the files cannot be written.
    """
    network = job.spec.file
    descriptor, name = tempfile.mkstemp(prefix=UNFINISHED, dir=network.parent)
    os.fchmod(descriptor, 0o644)
    os.close(descriptor)
    unfinished = Path(name)
    try:
        index = _pack(job, unfinished)
        if not index.refusal:
            # Not flushed to the disk first: after a power cut the checksum differs, and it is made again.
            unfinished.replace(network.with_name(WEIGHTS))
        write_atomically(network.with_name(INDEX), msgspec.json.encode(index))
    finally:
        unfinished.unlink(missing_ok=True)


def _pack(job: PackJob, weights: Path) -> WeightIndex:
    origin = origin_of(job.sha256)
    try:
        LiteRTSession(job.spec, weights, make_weights=True).close()
    except NotMappable as error:
        return WeightIndex(origin=origin, refusal=str(error))
    size_bytes = weights.stat().st_size
    if not size_bytes:
        return WeightIndex(origin=origin, refusal="XNNPACK runs none of it")
    return WeightIndex(origin=origin, size_bytes=size_bytes, checksum=checksum_of(weights))


if __name__ == "__main__":
    with report_failures():
        pack(decode(sys.argv[1], PackJob))

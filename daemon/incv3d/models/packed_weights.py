"""Pack the weights of flatbuffers in the store once, so that LiteRT maps them instead of copying them."""

from __future__ import annotations

import contextlib
import logging
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec

from incv3d.child_process import encode
from incv3d.engines.base import SessionSpec
from incv3d.engines.litert import LITERT
from incv3d.engines.weight_cache import INDEX, WEIGHTS, WeightIndex, find_weights, origin_of, read_index
from incv3d.models.conversions import StoredConversion
from incv3d.models.entry import ModelError
from incv3d.models.files import write_atomically
from incv3d.models.pack_weights import UNFINISHED, PackJob
from incv3d.models.prepare import ChildError, ensure_prepared, run_child
from incv3d.models.store import ModelStore, StoredModel

LOG = logging.getLogger(__name__)
PACKER = "incv3d.models.pack_weights"
WORTH_BYTES = 2 << 20
"""A smaller network's weights are packed in memory within milliseconds."""
SPACE = 2
"""The packed weights take up to this many times the flatbuffer's space; the rest is a reserve."""
ABORTED = -signal.SIGABRT
CRASHED = (-signal.SIGILL, -signal.SIGSEGV)
"""How the packer ends if LiteRT was built for another processor, or has another interface than expected."""
CRASH = "LiteRT crashes on this processor"


def ensure_ready(
    model: StoredModel,
    store: ModelStore,
    progress: Callable[[str], None],
    conversion: StoredConversion | None = None,
) -> Path | None:
    """Return what makes a Session of `model` start fast, see :func:`incv3d.engines.open_session`.

    It is made if it is missing or outdated: the prepared form of a frozen graph, or the packed weights of a
    flatbuffer.

    :param progress: called with one line if something must be made.
    :param conversion: the conversion to run instead of the model's own network.
    :returns: None if it cannot be made; the reason is logged, and the Session runs without it.
    :raises UnrunnableError: the model's own graph cannot classify an image.
    """
    if conversion:
        spec, sha256 = conversion.session_spec(model, 1), conversion.facts.sha256
    elif model.entry.format == "tflite":
        spec, sha256 = model.session_spec(1), model.manifest.sha256
    else:
        return ensure_prepared(model, store, progress)
    return _ensure_packed(model.name, spec, sha256, store, progress)


def _ensure_packed(
    name: str, spec: SessionSpec, sha256: str, store: ModelStore, progress: Callable[[str], None]
) -> Path | None:
    """Return the file with the packed weights of the flatbuffer of `spec`; pack them if necessary."""
    found, made = _find(spec.file, sha256)
    if made or not LITERT.is_installed or not _is_worth_it(spec.file):
        return found
    try:
        check_space(spec.file)
        with store.exclusively():
            found, made = _find(spec.file, sha256)
            if not made:
                progress(f"packing the weights of {name} for this processor (once)")
                found = pack_weights(spec, sha256)
    except ModelError as error:
        LOG.warning("%s: its weights are copied to memory, because they cannot be mapped: %s", name, error)
    return found


def pack_weights(spec: SessionSpec, sha256: str) -> Path | None:
    """Pack the weights of the flatbuffer of `spec` into a file beside it, in a child process.

    :returns: the file; None if the network is small, or LiteRT cannot map its weights on this processor.
    :raises ModelError: they cannot be packed this time.
    """
    if not _is_worth_it(spec.file):
        return None
    check_space(spec.file)
    _pack(PackJob(spec=spec, sha256=sha256))
    return _find(spec.file, sha256)[0]


def drop_packed(network: Path) -> None:
    """Remove the packed weights of a flatbuffer that does not run; the caller holds the store's lock.

    A Session that has mapped them keeps them. What was found out about the processor stays.
    """
    with contextlib.suppress(OSError):
        network.with_name(WEIGHTS).unlink()


def check_space(network: Path) -> None:
    """Raise ModelError if the disk has too little space for the packed weights of a flatbuffer."""
    needed_bytes, free_bytes = SPACE * network.stat().st_size, shutil.disk_usage(network.parent).free
    if free_bytes < needed_bytes:
        raise ModelError(
            f"{network.parent}: {needed_bytes / 1e6:.0f} MB are needed, {free_bytes / 1e6:.0f} MB are free"
        )


def _is_worth_it(network: Path) -> bool:
    """Return whether a flatbuffer is large enough; opening the Session reports one that is missing."""
    try:
        return network.stat().st_size >= WORTH_BYTES
    except OSError:
        return False


def _find(network: Path, sha256: str) -> tuple[Path | None, bool]:
    """Return the file with the packed weights, and whether there is nothing to make."""
    index = read_index(network, sha256)
    if index is None:
        return None, False
    found = None if index.refusal else find_weights(network, index)
    return found, bool(found or index.refusal)


def _pack(job: PackJob) -> None:
    _sweep(job.spec.file.parent)
    try:
        run_child(PACKER, [encode(job)])
    except ChildError as error:
        _sweep(job.spec.file.parent)
        if error.status == ABORTED:
            raise ModelError("XNNPACK could not write them; perhaps the disk is full") from None
        if error.status not in CRASHED:
            raise
        _remember(job, CRASH)
        LOG.warning("%s: its weights are copied to memory: %s", job.spec.file, CRASH)


def _remember(job: PackJob, refusal: str) -> None:
    """Write an index that says why the weights cannot be mapped, so that no later start tries it."""
    index = WeightIndex(origin=origin_of(job.sha256), refusal=refusal)
    try:
        write_atomically(job.spec.file.with_name(INDEX), msgspec.json.encode(index))
    except OSError as error:
        raise ModelError(f"{error.filename}: cannot be written: {error.strerror}") from None


def _sweep(folder: Path) -> None:
    """Remove leftovers of killed processes; the caller holds the store's lock."""
    for left in folder.glob(f"{UNFINISHED}*"):
        with contextlib.suppress(OSError):
            left.unlink()

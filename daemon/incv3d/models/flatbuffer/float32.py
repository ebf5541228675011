"""Make the float32 flatbuffer of a stored model, in a child process and without TensorFlow."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from incv3d.child_process import encode
from incv3d.config.preprocessing import PerChannel
from incv3d.engines.base import SessionSpec
from incv3d.engines.litert import LITERT
from incv3d.engines.weight_cache import INDEX, WEIGHTS
from incv3d.errors import pip_install
from incv3d.machine import available_memory_mb
from incv3d.models.conversions import (
    OriginalCheck,
    StoredConversion,
    describe,
    folder_name,
    open_conversion,
    own_converter,
    read_conversion,
    write_facts,
)
from incv3d.models.entry import ModelError
from incv3d.models.prepare import UNRUNNABLE, ChildError, UnrunnableError, run_child
from incv3d.models.store import FLATBUFFER, ModelStore, StoredModel

CONVERTER = "incv3d.models.flatbuffer.to_float32"
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
"""NumPy's threads wait for each other actively. While other programs use the cores, that takes ten times as
long as one thread."""
SCRATCH = "converting-float32"
UNSUPPORTED = 67
"""The converter's exit status for :class:`UnsupportedGraph`."""


class UnsupportedGraph(ModelError):
    """A graph has an operation that only TensorFlow's own converter supports."""


class Float32Job(msgspec.Struct, frozen=True, kw_only=True):
    """A graph to convert, passed to the child process as JSON."""

    spec: SessionSpec
    """The graph, and its input and output tensors."""
    outputs: int
    """Number of scores."""
    mean: PerChannel
    scale: PerChannel
    """The network's input is ``(pixel - mean) / scale``, with pixels 0 to 255."""
    out: str
    """The flatbuffer's path."""
    check: str
    """Path for an :class:`OriginalCheck`."""


def make_float32(model: StoredModel, network: Path) -> OriginalCheck:
    """Convert the graph of `model` to a flatbuffer, and return how close their scores are.

    :param network: the flatbuffer's path. Its packed weights are put beside it, except for a small one.
    :raises UnsupportedGraph: it has an operation that cannot be converted this way.
    :raises UnrunnableError: the graph returns no scores, or the wrong number of them.
    :raises ModelError: it cannot be converted this time.
    """
    if not LITERT.is_installed:
        raise ModelError(f"LiteRT is not installed; install it: {pip_install(LITERT.package)}")
    check_memory(model)
    entry, check = model.entry, network.with_suffix(".check")
    job = Float32Job(
        spec=model.session_spec(threads=1), outputs=entry.scores_given, mean=entry.mean, scale=entry.scale,
        out=str(network), check=str(check),
    )  # fmt: skip
    try:
        run_child(CONVERTER, [encode(job)], ONE_THREAD)
        return msgspec.json.decode(check.read_bytes(), type=OriginalCheck)
    except ChildError as error:
        for left in (network, network.with_name(WEIGHTS), network.with_name(INDEX)):
            left.unlink(missing_ok=True)
        kinds = {UNSUPPORTED: UnsupportedGraph, UNRUNNABLE: UnrunnableError}
        raise kinds.get(error.status, ModelError)(f"{model.name}: {error}") from None
    finally:
        check.unlink(missing_ok=True)


def add_float32(model: StoredModel, folder: Path) -> None:
    """Make the conversion of `model` to float32 in a folder of its own in `folder`.

    :raises UnsupportedGraph: like :func:`make_float32`.
    :raises UnrunnableError: like :func:`make_float32`.
    :raises ModelError: it cannot be converted this time, or the folder cannot be written.
    """
    target = folder / folder_name("float32")
    with contextlib.ExitStack() as failed:
        failed.callback(shutil.rmtree, target, ignore_errors=True)
        try:
            target.mkdir()
            check = make_float32(model, target / FLATBUFFER)
            facts = describe(model, "float32", target / FLATBUFFER, own_converter(), 0, None, None, check)
            write_facts(facts, target)
        except OSError as error:
            raise ModelError(f"{error.filename or target}: cannot be written: {error.strerror}") from None
        failed.pop_all()


def find_float32(model: StoredModel) -> StoredConversion | None:
    """Return the conversion of `model` to float32, or None if it is missing or not usable."""
    try:
        return read_conversion(model.directory, "float32", model.manifest.sha256)
    except ModelError:
        return None


def ensure_float32(
    model: StoredModel, store: ModelStore, progress: Callable[[str], None]
) -> StoredConversion:
    """Return the conversion of `model` to float32; make it and keep it with the model if it is missing.

    :param progress: called with one line if it must be made.
    :raises UnsupportedGraph: like :func:`make_float32`.
    :raises UnrunnableError: like :func:`make_float32`.
    :raises ModelError: it cannot be converted this time, or the store cannot be written.
    """
    if found := find_float32(model):
        return found
    progress(f"converting {model.name} to float32 for LiteRT (once)")
    with store.exclusively():
        if not find_float32(model):
            remake_float32(model, store)
    return open_conversion(model, "float32")


def remake_float32(model: StoredModel, store: ModelStore) -> None:
    """Make the conversion of `model` to float32 and keep it with the model, replacing an older one.

    :raises ModelError: like :func:`ensure_float32`.
    """
    with store.scratch_folder(SCRATCH) as scratch:
        add_float32(model, scratch)
        store.attach(model, scratch / folder_name("float32"))


def check_memory(model: StoredModel, proc_root: Path = Path("/proc")) -> None:
    """Raise ModelError if this machine has too little free memory to convert `model` this way."""
    needed_mb = LITERT.needed_mb(model.size_bytes / 2**20)
    spare_mb = available_memory_mb(proc_root)
    if spare_mb is not None and spare_mb < needed_mb:
        raise ModelError(
            f"converting {model.name} to float32 takes {needed_mb:.0f} MB of memory, but {spare_mb:.0f} MB "
            f"are free (including swap)"
        )

"""Make the float32 flatbuffer of a stored model, in a child process and without TensorFlow."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import msgspec

from incv3d.config.preprocessing import PerChannel
from incv3d.engines.base import SessionSpec
from incv3d.engines.litert import LITERT
from incv3d.errors import pip_install
from incv3d.machine import available_memory_mb
from incv3d.models.conversions import OriginalCheck
from incv3d.models.entry import ModelError
from incv3d.models.prepare import UNRUNNABLE, ChildError, UnrunnableError, run_child
from incv3d.models.store import StoredModel

CONVERTER = "incv3d.models.flatbuffer.to_float32"
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

    :param network: the flatbuffer's path; a file beside it is used meanwhile.
    :raises UnsupportedGraph: it has an operation that cannot be converted this way.
    :raises UnrunnableError: the graph returns no scores, or the wrong number of them.
    :raises ModelError: it cannot be converted this time.
    """
    if find_spec(LITERT.module) is None:
        raise ModelError(f"LiteRT is not installed; install it: {pip_install(LITERT.package)}")
    check_memory(model)
    entry, check = model.entry, network.with_suffix(".check")
    job = Float32Job(
        spec=model.session_spec(threads=1), outputs=entry.scores_given, mean=entry.mean, scale=entry.scale,
        out=str(network), check=str(check),
    )  # fmt: skip
    try:
        run_child(CONVERTER, [msgspec.json.encode(job, enc_hook=str).decode()])
        return msgspec.json.decode(check.read_bytes(), type=OriginalCheck)
    except ChildError as error:
        network.unlink(missing_ok=True)
        kinds = {UNSUPPORTED: UnsupportedGraph, UNRUNNABLE: UnrunnableError}
        raise kinds.get(error.status, ModelError)(f"{model.name}: {error}") from None
    finally:
        check.unlink(missing_ok=True)


def check_memory(model: StoredModel, proc_root: Path = Path("/proc")) -> None:
    """Raise ModelError if this machine has too little free memory to convert `model` this way."""
    needed_mb = LITERT.needed_mb(model.size_bytes / 2**20)
    spare_mb = available_memory_mb(proc_root)
    if spare_mb is not None and spare_mb < needed_mb:
        raise ModelError(
            f"converting {model.name} to float32 takes {needed_mb:.0f} MB of memory, but {spare_mb:.0f} MB "
            f"are free (including swap)"
        )

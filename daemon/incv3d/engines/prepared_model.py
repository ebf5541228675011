"""A model prepared for the lean Session: a small graph, and its weights in one file beside it.

Preparing takes TensorFlow's Python package and its memory, and is done once, ahead, by a process of its own
(:mod:`incv3d.models.graph.prepare_graph`); loading takes neither.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from incv3d.engines.base import SessionError

GRAPH = "graph.pb"
WEIGHTS = "weights.bin"
INDEX = "index.json"
FORMAT = 2
PREPARER_VERSION = 4
"""Raised when what is written changes; a model prepared by an older one is prepared again."""
CPUINFO = Path("/proc/cpuinfo")
NEURAL_FEATURES = frozenset((
    "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16", "sve", "bf16", "i8mm",
))  # fmt: skip
"""What TensorFlow looks at when it decides by itself whether to compute with oneDNN, which has operations of
its own (tensorflow/core/util/port.cc), as ``/proc/cpuinfo`` calls it."""
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
"""What decides it for TensorFlow."""
ALIGNMENT = 64
"""Bytes. TensorFlow takes a buffer that is aligned like this as it is, and copies any other."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be prepared, handed to the child process as JSON."""

    graph: str
    source_sha256: str
    input: str
    input_shape: tuple[int, int, int, int]
    output: str
    out: str
    jpeg_input: str = ""
    picture_input: str = ""
    """Tensors ahead of the input that stay in the graph, so that they can be fed; empty: there are none."""
    layout: Literal["nhwc", "nchw"] = "nhwc"
    mean: float | tuple[float, ...] = 127.5
    scale: float | tuple[float, ...] = 127.5
    """Pixels reach the network as ``(pixel - mean) / scale``, for one or for each channel."""
    outputs: int = 0
    """How many scores it must give; 0: any number."""
    portable: bool = False
    """Whether it is prepared for any processor, not only for this one."""
    seeds: tuple[int, ...] = ()
    """Of more noise on which it must give the scores of its original."""


class Weight(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where one weight lies in the weights' file, and which nodes take it into the graph."""

    name: str
    offset: int
    shape: tuple[int, ...]
    """The elements are float32, row by row."""
    feed: str
    """The placeholder that takes the value."""
    assign: str
    """The node that, run once, puts it into its variable."""

    @property
    def size_bytes(self) -> int:
        """Bytes in the weights' file."""
        return int(np.prod(self.shape, dtype=np.int64)) * 4


class Index(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a prepared model is made of and made from."""

    format: int
    source_sha256: str
    """Of the frozen GraphDef that it was made from."""
    preparer: str
    """Version of the preparer and of the TensorFlow that it used; another one means preparing again."""
    input: str
    input_shape: tuple[int, int, int, int]
    output: str
    outputs: int
    jpeg_input: str = ""
    picture_input: str = ""
    graph_bytes: int
    weights_bytes: int
    weights_sha256: str
    """Checked when a prepared model is imported; at every start it would cost a Raspberry Pi seconds."""
    weights: tuple[Weight, ...]
    processor: str = ""
    """What it was prepared for (:func:`processor_id`); empty: for any."""
    graph_sha256: str = ""
    """Checked by ``incv3d model verify``; empty in a model prepared before it was noted."""


def processor_id() -> str:
    """Return what of this processor and of the environment decides which operations TensorFlow chooses.

    Raspberry Pis of one architecture are all alike in that: ``aarch64``.
    """
    features: frozenset[str] = frozenset()
    try:
        with CPUINFO.open("r", encoding="ascii", errors="replace") as file:
            line = next((each for each in file if each.startswith(("flags", "Features"))), "")
        features = NEURAL_FEATURES.intersection(line.split())
    except OSError:
        pass  # no procfs: the architecture has to do
    asked = os.environ.get(ONEDNN)
    return " ".join((platform.machine(), *sorted(features), *([f"{ONEDNN}={asked}"] if asked else [])))


def preparer_id(tensorflow_version: str) -> str:
    """What a prepared model is stamped with. Patch releases of TensorFlow keep their operations."""
    return f"{PREPARER_VERSION}/tensorflow-{'.'.join(tensorflow_version.split('.')[:2])}"


@dataclass(frozen=True, slots=True)
class PreparedModel:
    """A prepared model on disk, checked."""

    directory: Path
    index: Index
    graph_file: str = GRAPH

    @property
    def graph(self) -> bytes:
        """The serialized GraphDef."""
        return (self.directory / self.graph_file).read_bytes()

    @property
    def weights(self) -> Path:
        """The file of all weights."""
        return self.directory / WEIGHTS

    def map_weights(self) -> npt.NDArray[np.uint8]:
        """The weights' file mapped into memory, read-only: the kernel can drop its pages at any time."""
        if not self.index.weights_bytes:
            return np.empty(0, np.uint8)
        return np.memmap(self.weights, np.uint8, "r", shape=(self.index.weights_bytes,))


def read_index(directory: Path) -> Index:
    """The index of the prepared model in `directory`.

    :raises SessionError: when there is none, or it is damaged.
    """
    path = directory / INDEX
    try:
        index = msgspec.json.decode(path.read_bytes(), type=Index)
    except OSError as error:
        raise SessionError(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SessionError(f"{path}: damaged: {error}") from None
    if index.format != FORMAT:
        raise SessionError(f"{path}: of format {index.format}, this program reads format {FORMAT}")
    return index


def open_prepared(directory: Path) -> PreparedModel:
    """The prepared model in `directory`, its files checked against its index.

    :raises SessionError: when a file is missing, of another size, or the index contradicts itself.
    """
    index = read_index(directory)
    for name, expected in ((GRAPH, index.graph_bytes), (WEIGHTS, index.weights_bytes)):
        path = directory / name
        try:
            size_bytes = path.stat().st_size
        except OSError as error:
            raise SessionError(f"{path}: cannot be read: {error.strerror}") from None
        if size_bytes != expected:
            raise SessionError(f"{path}: {size_bytes} bytes, it had {expected} when it was prepared")
    for weight in index.weights:
        beyond = weight.offset + weight.size_bytes > index.weights_bytes
        if beyond or weight.offset < 0 or weight.offset % ALIGNMENT or min(weight.shape, default=1) < 0:
            raise SessionError(f"{directory / INDEX}: damaged: `{weight.name}` does not fit into {WEIGHTS}")
    return PreparedModel(directory, index)

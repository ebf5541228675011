"""Define the files of a prepared model: a small graph, and its weights in a separate file.

Preparation imports TensorFlow's Python package, which takes much memory, and is done once by a child process
(:mod:`incv3d.models.graph.prepare_graph`); loading does not.
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
"""Incremented when the output changes, so that models from an older version are prepared again."""
CPUINFO = Path("/proc/cpuinfo")
NEURAL_FEATURES = frozenset((
    "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16", "sve", "bf16", "i8mm",
))  # fmt: skip
"""The processor features, named as in ``/proc/cpuinfo``, by which TensorFlow decides whether to use oneDNN,
which has its own operations (tensorflow/core/util/port.cc)."""
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
"""The environment variable that overrides the decision."""
ALIGNMENT = 64
"""Alignment in bytes. TensorFlow uses buffers with this alignment without copying them."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A model to prepare, passed to the child process as JSON."""

    graph: str
    source_sha256: str
    input: str
    input_shape: tuple[int, int, int, int]
    output: str
    out: str
    jpeg_input: str = ""
    image_input: str = ""
    """Tensors before the input that stay in the graph, so that they can be fed; empty: none."""
    layout: Literal["nhwc", "nchw"] = "nhwc"
    mean: float | tuple[float, ...] = 127.5
    scale: float | tuple[float, ...] = 127.5
    """The network's input is ``(pixel - mean) / scale``, with one value or one per channel."""
    outputs: int = 0
    """Expected number of scores; 0: any number."""
    portable: bool = False
    """Whether to prepare it for any processor, not only this one."""
    seeds: tuple[int, ...] = ()
    """Seeds of additional noise on which it must return the scores of its original."""


class Weight(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The location of one weight in the weights' file, and the nodes that load it into the graph."""

    name: str
    offset: int
    shape: tuple[int, ...]
    """The shape; elements are float32 in row-major order."""
    feed: str
    """The placeholder for the value."""
    assign: str
    """The node that assigns the value to its variable when it runs."""

    @property
    def size_bytes(self) -> int:
        """Size in the weights' file."""
        return int(np.prod(self.shape, dtype=np.int64)) * 4


class Index(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The description of a prepared model and its origin."""

    format: int
    source_sha256: str
    """SHA-256 of the frozen GraphDef that was prepared."""
    preparer: str
    """Versions of the preparer and of TensorFlow; if they change, the model is prepared again."""
    input: str
    input_shape: tuple[int, int, int, int]
    output: str
    outputs: int
    jpeg_input: str = ""
    image_input: str = msgspec.field(default="", name="picture_input")
    graph_bytes: int
    weights_bytes: int
    weights_sha256: str
    """Checked when a prepared model is imported; checking it at every start would take seconds on a Raspberry
    Pi."""
    weights: tuple[Weight, ...]
    processor: str = ""
    """The processor that it was prepared for (:func:`processor_id`); empty: any."""
    graph_sha256: str = ""
    """Checked by ``incv3d model verify``; empty in models prepared by older versions."""


def processor_id() -> str:
    """Return the properties of processor and environment that affect TensorFlow's choice of operations.

    All Raspberry Pis of one architecture are equal in that: ``aarch64``.
    """
    features: frozenset[str] = frozenset()
    try:
        with CPUINFO.open("r", encoding="ascii", errors="replace") as file:
            line = next((each for each in file if each.startswith(("flags", "Features"))), "")
        features = NEURAL_FEATURES.intersection(line.split())
    except OSError:
        pass  # no procfs: only the architecture is known
    asked = os.environ.get(ONEDNN)
    return " ".join((platform.machine(), *sorted(features), *([f"{ONEDNN}={asked}"] if asked else [])))


def preparer_id(tensorflow_version: str) -> str:
    """Return the version stamp of a prepared model. Patch releases of TensorFlow do not change operations."""
    return f"{PREPARER_VERSION}/tensorflow-{'.'.join(tensorflow_version.split('.')[:2])}"


@dataclass(frozen=True, slots=True)
class PreparedModel:
    """A prepared model on disk, checked."""

    directory: Path
    index: Index
    graph_file: str = GRAPH

    @property
    def graph(self) -> bytes:
        """Return the serialized GraphDef."""
        return (self.directory / self.graph_file).read_bytes()

    @property
    def weights(self) -> Path:
        """The path of the weights' file."""
        return self.directory / WEIGHTS

    def map_weights(self) -> npt.NDArray[np.uint8]:
        """Map the weights' file into memory, read-only, so that the kernel can drop its pages at any time."""
        if not self.index.weights_bytes:
            return np.empty(0, np.uint8)
        return np.memmap(self.weights, np.uint8, "r", shape=(self.index.weights_bytes,))


def read_index(directory: Path) -> Index:
    """Return the index of the prepared model in `directory`.

    :raises SessionError: it is missing or damaged.
    """
    path = directory / INDEX
    try:
        index = msgspec.json.decode(path.read_bytes(), type=Index)
    except OSError as error:
        raise SessionError(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SessionError(f"{path}: damaged: {error}") from None
    if index.format != FORMAT:
        raise SessionError(f"{path}: has format {index.format}, but this version reads format {FORMAT}")
    return index


def open_prepared(directory: Path) -> PreparedModel:
    """Return the prepared model in `directory`, after checking its files against its index.

    :raises SessionError: a file is missing or has the wrong size, or the index is inconsistent.
    """
    index = read_index(directory)
    for name, expected in ((GRAPH, index.graph_bytes), (WEIGHTS, index.weights_bytes)):
        path = directory / name
        try:
            size_bytes = path.stat().st_size
        except OSError as error:
            raise SessionError(f"{path}: cannot be read: {error.strerror}") from None
        if size_bytes != expected:
            raise SessionError(f"{path}: damaged: {size_bytes} bytes instead of {expected}")
    for weight in index.weights:
        beyond = weight.offset + weight.size_bytes > index.weights_bytes
        if beyond or weight.offset < 0 or weight.offset % ALIGNMENT or min(weight.shape, default=1) < 0:
            raise SessionError(f"{directory / INDEX}: damaged: `{weight.name}` is not within {WEIGHTS}")
    return PreparedModel(directory, index)

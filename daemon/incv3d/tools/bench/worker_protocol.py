"""Define the job of a benchmark worker, and its replies."""

from __future__ import annotations

from typing import Literal

import msgspec

from incv3d.engines.base import SessionSpec
from incv3d.images.resize import InputSpec

Engine = Literal[
    "plain", "lean", "litert", "litert-float32", "litert-int8", "onnxruntime", "openvino", "opencv"
]


class EngineJob(msgspec.Struct, frozen=True, kw_only=True):
    """The engine to open and time."""

    engine: Engine
    spec: SessionSpec
    """Its ``file`` is the network in the engine's own format."""
    pixels: InputSpec
    prepared: str = ""
    """``lean``: the folder of the prepared form; ``litert``: the file of packed weights, if there is one."""
    image: str
    """The JPEG file that every run classifies."""
    default_threads: bool
    """``plain``: leave the number of threads to TensorFlow, as the published script does."""


class OpenReply(msgspec.Struct, frozen=True, kw_only=True):
    """The engine is open; it has made no measured run yet."""

    version: str
    import_s: float
    """Importing or loading the engine's library."""
    build_s: float
    """Reading, parsing and importing the network."""
    devices: tuple[str, ...] = ()
    """The devices that TensorFlow sees; empty for other engines."""
    decodes_in_graph: bool
    """False: runs include incv3d's own decoding and resizing."""


class TraceReply(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a traced run; nanoseconds."""

    wall_ns: int
    """From the JPEG to the scores."""
    decode_ns: float
    resize_ns: float
    by_op_ns: dict[str, float]
    """The executor's other time, by type of operation."""
    between_ns: float
    """In the executor, between operations."""
    outside_ns: float
    """From the call to the first operation, and from the last operation to the return."""
    overlap_ns: float
    """Time that operations overlapped: their sum minus the time that they covered."""

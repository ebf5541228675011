"""What the benchmark and its child processes say to each other: one line of JSON each."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from incv3d.engines.base import SessionSpec
from incv3d.images.resize import InputSpec

Engine = Literal[
    "plain", "lean", "litert", "litert-float32", "litert-int8", "onnxruntime", "openvino", "opencv"
]
Command = Literal["run", "trace", "empty"]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One engine to be opened and timed."""

    engine: Engine
    spec: SessionSpec
    """Its ``file`` is the network in the engine's own format."""
    pixels: InputSpec
    prepared: str = ""
    """``lean``: the folder of the prepared form."""
    picture: str
    """The file with the JPEG that every run classifies."""
    default_threads: bool
    """``plain``: leave the threads to TensorFlow, as the published script does."""


class OpenReply(msgspec.Struct, frozen=True, kw_only=True):
    """The engine is open; nothing has been run for the record yet."""

    version: str
    import_s: float
    """Importing the engine's library, or loading it."""
    build_s: float
    """Reading, parsing and importing the network."""
    devices: tuple[str, ...] = ()
    """Those that TensorFlow sees; empty for other engines."""
    decodes_in_graph: bool
    """False: decoding and resizing are incv3d's own, and timed with the run."""


class RunReply(msgspec.Struct, frozen=True, kw_only=True):
    """One timed run."""

    run_s: float
    scores: tuple[float, ...] = ()
    """Of the first run."""


class TraceReply(msgspec.Struct, frozen=True, kw_only=True):
    """One traced run, taken apart; nanoseconds."""

    wall_ns: int
    """From the JPEG to the scores."""
    decode_ns: float
    resize_ns: float
    by_op_ns: dict[str, float]
    """The executor's other time by type of operation."""
    between_ns: float
    """In the executor, between operations."""
    outside_ns: float
    """From the call to the first operation, and from the last one to the return."""
    overlap_ns: float
    """How much longer the operations took together than the time that they covered."""


class ErrorReply(msgspec.Struct, frozen=True, kw_only=True):
    """The child cannot go on."""

    failed: str


def encode_job(job: Job) -> str:
    """`job` as one line."""
    return msgspec.json.encode(job, enc_hook=str).decode()


def decode_job(line: str) -> Job:
    """The job that :func:`encode_job` wrote."""

    def path(kind: type, value: Any) -> Any:
        return Path(value) if kind is Path else value

    return msgspec.json.decode(line, type=Job, dec_hook=path)

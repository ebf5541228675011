"""Time one engine in a worker process: ``python -m incv3d.tools.bench.worker JOB``.

Its commands are ``run``, ``trace``, and ``empty`` (the same call without the network).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from incv3d.child_process import decode
from incv3d.config.intake import LARGEST_IMAGE
from incv3d.engines.base import Feed, Scores
from incv3d.frames import Frame
from incv3d.images.preprocess import Preprocessor
from incv3d.images.resize import fit
from incv3d.models.graph.graphdef_reader import read_nodes
from incv3d.tools.bench.tensorflow_trace import Execution, parse_trace, share_out
from incv3d.tools.bench.worker_protocol import EngineJob, OpenReply, TraceReply
from incv3d.tools.workers.protocol import RunReply
from incv3d.tools.workers.serve import serve

DECODE_OPS = {"DecodeJpeg", "DecodePng", "DecodeImage"}


class TimedEngine:
    """An engine and its image: every run starts with the bytes of a JPEG and ends with scores."""

    def __init__(self, job: EngineJob) -> None:
        self._job = job
        self._jpeg = Path(job.image).read_bytes()
        self._preprocessor = Preprocessor(job.pixels, LARGEST_IMAGE, "exact")
        self._session = self._open()
        self.in_graph = bool(job.spec.jpeg_input) and job.engine in ("plain", "lean")
        self._first = True

    def _open(self) -> Any:
        job = self._job
        if job.engine == "plain":
            from incv3d.tools.bench.plain_session import PlainSession

            return PlainSession(job.spec, job.default_threads)
        if job.engine == "lean":
            from incv3d.tools.bench.traced_session import TracedSession

            return TracedSession(Path(job.prepared), job.spec.threads, job.spec.cache_filters)
        if job.engine.startswith("litert"):
            from incv3d.engines.litert import LiteRTSession

            return LiteRTSession(job.spec, Path(job.prepared) if job.prepared else None)
        if job.engine == "onnxruntime":
            from incv3d.engines.onnx import OnnxSession

            return OnnxSession(job.spec)
        from incv3d.tools.bench.other_runtimes import open_other_runtime

        return open_other_runtime(job.engine, job.spec)

    @property
    def commands(self) -> Mapping[str, Callable[..., msgspec.Struct]]:
        """The commands that :func:`serve` answers."""
        return {"run": self.run, "trace": self.trace, "empty": self.empty}

    def opened(self) -> OpenReply:
        """Describe the engine, and how long opening it took."""
        session = self._session
        facts = getattr(session, "facts", None)
        devices = session.devices() if self._job.engine == "plain" else []
        if self._job.engine == "lean":
            devices = [name.rsplit("/device:", 1)[-1] for name, _ in session.devices()]
        return OpenReply(
            version=facts.version if facts else session.version,
            import_s=facts.import_ms / 1000 if facts else session.import_s,
            build_s=facts.build_ms / 1000 if facts else session.build_s,
            devices=tuple(devices),
            decodes_in_graph=self.in_graph,
        )

    def run(self) -> RunReply:
        """Make a timed run; the reply to the first one has the scores."""
        started = time.perf_counter()
        scores: Scores = self._session.run(self._feed())
        run_s = time.perf_counter() - started
        first, self._first = self._first, False
        return RunReply(run_s=run_s, scores=tuple(map(float, scores)) if first else ())

    def trace(self) -> TraceReply:
        """Make a traced run and break it down."""
        started = time.perf_counter_ns()
        decode_ns = resize_ns = 0.0
        feed: Feed = self._jpeg
        if not self.in_graph:
            image = self._preprocessor.decode(self._frame())
            decode_ns = time.perf_counter_ns() - started
            feed = fit(image, self._job.pixels, exact=True)
            resize_ns = time.perf_counter_ns() - started - decode_ns
        called_ns = time.time_ns()
        metadata = self._session.trace(feed)
        returned_ns = time.time_ns()
        wall_ns = time.perf_counter_ns() - started
        span = share_out(parse_trace(metadata), self._kind_of if self.in_graph else _op)
        by_op = span.by_kind_ns
        return TraceReply(
            wall_ns=wall_ns,
            decode_ns=decode_ns + by_op.pop("decode", 0.0),
            resize_ns=resize_ns + by_op.pop("resize", 0.0),
            by_op_ns=by_op,
            between_ns=span.between_ns,
            outside_ns=span.start_ns - called_ns + returned_ns - span.end_ns,
            overlap_ns=span.overlap_ns,
        )

    def empty(self) -> RunReply:
        """Make a call without the network, which shows the cost of calling."""
        feed = self._feed()
        started = time.perf_counter()
        self._session.run_nothing(feed)
        return RunReply(run_s=time.perf_counter() - started)

    def _feed(self) -> Feed:
        return self._jpeg if self.in_graph else self._preprocessor(self._frame())

    def _frame(self) -> Frame:
        return Frame("bench", self._jpeg, "jpeg", received=0.0, captured=0.0)

    def _kind_of(self, execution: Execution) -> str:
        """Return ``decode`` or ``resize`` for operations ahead of the network's input, else the operation."""
        if execution.op in DECODE_OPS:
            return "decode"
        return "resize" if execution.name in self._ahead else execution.op

    @cached_property
    def _ahead(self) -> set[str]:
        return nodes_ahead(self._job.spec.file, self._job.spec.input)


def nodes_ahead(graph: Path, tensor: str) -> set[str]:
    """Return the names of the nodes from which `tensor` is computed, including its own, in a frozen graph."""
    inputs = {node.name: node.inputs for node in read_nodes(graph)}
    waiting, found = [tensor.split(":")[0]], set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [each.lstrip("^").split(":")[0] for each in inputs.get(name, ())]
    return found


def _op(execution: Execution) -> str:
    return execution.op


if __name__ == "__main__":
    serve(lambda: TimedEngine(decode(sys.argv[1], EngineJob)))

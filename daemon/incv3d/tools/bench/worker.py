"""One engine in one process of its own: ``python -m incv3d.tools.bench.worker JOB``.

It opens the engine, says so, and then does one thing for every line that it is told: ``run``, ``trace``,
``empty`` (the same call without the network). So the one that tells can let several such processes take
turns. When its standard input ends, so does it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

import msgspec

from incv3d.config.schema import LARGEST_IMAGE
from incv3d.engines.base import Feed, Scores
from incv3d.errors import Incv3dError
from incv3d.frames import Frame
from incv3d.images.preprocess import Preprocessor
from incv3d.images.resize import fit
from incv3d.models.graph.graphdef_reader import read_nodes
from incv3d.tools.bench.tensorflow_trace import Execution, parse_trace, share_out
from incv3d.tools.bench.worker_protocol import ErrorReply, Job, OpenReply, RunReply, TraceReply, decode_job

DECODE_OPS = {"DecodeJpeg", "DecodePng", "DecodeImage"}


class TimedEngine:
    """An engine and its picture: every call goes from the bytes of a JPEG to scores."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._jpeg = Path(job.picture).read_bytes()
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

            return LiteRTSession(job.spec)
        from incv3d.tools.bench.other_runtimes import open_peer

        return open_peer(job.engine, job.spec)

    def opened(self) -> OpenReply:
        """What opening took."""
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
        """One timed run."""
        started = time.perf_counter()
        scores: Scores = self._session.run(self._feed())
        run_s = time.perf_counter() - started
        first, self._first = self._first, False
        return RunReply(run_s=run_s, scores=tuple(map(float, scores)) if first else ())

    def trace(self) -> TraceReply:
        """One traced run, taken apart."""
        started = time.perf_counter_ns()
        decode_ns = resize_ns = 0.0
        feed: Feed = self._jpeg
        if not self.in_graph:
            picture = self._preprocessor.decode(self._frame())
            decode_ns = time.perf_counter_ns() - started
            feed = fit(picture, self._job.pixels, exact=True)
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
        """One call without the network: what calling costs."""
        feed = self._feed()
        started = time.perf_counter()
        self._session.run_nothing(feed)
        return RunReply(run_s=time.perf_counter() - started)

    def _feed(self) -> Feed:
        return self._jpeg if self.in_graph else self._preprocessor(self._frame())

    def _frame(self) -> Frame:
        return Frame("bench", self._jpeg, "jpeg", received=0.0, captured=0.0)

    def _kind_of(self, execution: Execution) -> str:
        """``decode`` and ``resize`` for what brings the JPEG to the network's input, else the operation."""
        if execution.op in DECODE_OPS:
            return "decode"
        return "resize" if execution.name in self._ahead else execution.op

    @cached_property
    def _ahead(self) -> set[str]:
        return nodes_ahead(self._job.spec.file, self._job.spec.input)


def nodes_ahead(graph: Path, tensor: str) -> set[str]:
    """The names of the nodes of a frozen graph that `tensor` is computed from, its own included."""
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


@contextmanager
def _answers() -> Iterator[TextIO]:
    """Where answers go: standard output, which everything else is kept away from."""
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        yield out


def main(line: str) -> None:
    """Open the engine of the job in `line`, and do what standard input says."""
    with _answers() as out:

        def answer(said: OpenReply | RunReply | TraceReply | ErrorReply) -> None:
            out.write(msgspec.json.encode(said).decode() + "\n")
            out.flush()

        try:
            timed = TimedEngine(decode_job(line))
            answer(timed.opened())
            commands: dict[str, Callable[[], RunReply | TraceReply]] = {
                "run": timed.run,
                "trace": timed.trace,
                "empty": timed.empty,
            }
            for told in iter(sys.stdin.readline, ""):
                answer(commands[told.strip()]())
        except (Incv3dError, OSError, ValueError) as error:
            answer(ErrorReply(failed=" ".join(str(error).split())))
        except MemoryError:
            answer(ErrorReply(failed="too little memory"))


if __name__ == "__main__":
    main(sys.argv[1])
    sys.stderr.flush()
    # What an interpreter cleans up at its end is not worth waiting for, nor a library's crash in it.
    os._exit(0)

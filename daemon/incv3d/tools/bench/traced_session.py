"""Extend the lean Session with traced runs and empty calls."""

from __future__ import annotations

from pathlib import Path

from incv3d.engines.base import Feed, SessionError
from incv3d.engines.prepared_model import open_prepared
from incv3d.engines.tensorflow_c import TensorFlowSession
from incv3d.tools.bench.tensorflow_trace import TRACED_RUN_OPTIONS


class TracedSession(TensorFlowSession):
    """The daemon's own Session, with tracing.

    :raises SessionError: if it cannot be opened.
    """

    def __init__(self, directory: Path, threads: int, cache_filters: bool = False) -> None:
        super().__init__(directory, threads, cache_filters)
        weights = open_prepared(directory).index.weights
        # The cheapest operation available: it returns a handle.
        self._nothing = self._graph.operation(f"{weights[0].name}/incv3d/handle") if weights else None

    def trace(self, feed: Feed) -> bytes:
        """Run once with tracing; return the serialized ``RunMetadata``."""
        with self._feeding(feed) as fed:
            _, metadata = self._session.run([fed], self._fetched, options=TRACED_RUN_OPTIONS)
        return metadata

    def run_nothing(self, feed: Feed) -> None:
        """Make the same call with an operation that does almost nothing instead of the network."""
        if self._nothing is None:
            raise SessionError("the graph has no variable that an empty call could use")
        with self._feeding(feed) as fed:
            self._session.run([fed], [], [self._nothing])

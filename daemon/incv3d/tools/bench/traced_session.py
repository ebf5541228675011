"""The lean Session with two more calls: a traced run, and a run of nothing."""

from __future__ import annotations

from pathlib import Path

from incv3d.engines.base import Feed, SessionError
from incv3d.engines.prepared_model import open_prepared
from incv3d.engines.tensorflow_c import TensorFlowSession
from incv3d.tools.bench.tensorflow_trace import TRACED_RUN_OPTIONS


class TracedSession(TensorFlowSession):
    """The daemon's own Session, taken apart.

    :raises SessionError: when it cannot be opened.
    """

    def __init__(self, directory: Path, threads: int, cache_filters: bool = False) -> None:
        super().__init__(directory, threads, cache_filters)
        weights = open_prepared(directory).index.weights
        # The smallest operation there is: it hands out a pointer.
        self._nothing = self._graph.operation(f"{weights[0].name}/incv3d/handle") if weights else None

    def trace(self, feed: Feed) -> bytes:
        """Run once, traced; the serialized ``RunMetadata``."""
        with self._feeding(feed) as fed:
            _, metadata = self._session.run([fed], [self._output], options=TRACED_RUN_OPTIONS)
        return metadata

    def run_nothing(self, feed: Feed) -> None:
        """The same call, with an operation that does next to nothing in place of the network."""
        if self._nothing is None:
            raise SessionError("the graph has no variable to name in place of the network")
        with self._feeding(feed) as fed:
            self._session.run([fed], [], [self._nothing])

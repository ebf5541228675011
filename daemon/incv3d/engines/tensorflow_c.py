"""Run TensorFlow through its C API: the same library and the same numbers, without importing the package.

Importing the Python package takes half a gigabyte and, on a Raspberry Pi 3, minutes; loading its shared
libraries takes a second. The weights are mapped from their file and fed without a copy, so that they stay in
the page cache, which the kernel may drop and read again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from incv3d.engines.base import (
    BadFeed,
    Features,
    Feed,
    Pixels,
    Scores,
    SessionFacts,
    is_feature_vector,
)
from incv3d.engines.capi import Graph, GraphSession, Library, Output, Tensor, TensorFlowError
from incv3d.engines.capi.tensor import aligned_empty
from incv3d.engines.page_release import release_clean_pages
from incv3d.engines.prepared_model import PreparedModel, open_prepared

FROZEN_WEIGHTS = "TF_ONEDNN_ASSUME_FROZEN_WEIGHTS"
"""The variable that tells TensorFlow that weights do not change after the first run
(tensorflow/core/util/util.cc)."""
INVALID_ARGUMENT = 3
"""``TF_INVALID_ARGUMENT`` (tensorflow/c/tf_status.h): DecodeJpeg's status for bytes that it cannot decode."""


@dataclass(frozen=True, slots=True)
class _Buffer:
    """A buffer for the pixels of one run, aligned so that TensorFlow reads them in place."""

    pixels: Pixels
    tensor: Tensor


class TensorFlowSession:
    """A prepared model in a Session of the C API, with its weights loaded.

    :param model: a folder written by :mod:`incv3d.models.graph.prepare_graph`, or the model opened from one.
    :param threads: number of cores that one run may use.
    :param cache_filters: keep the filters in oneDNN's layout instead of converting them in every run: a run
        of Inception-v3 takes an eighth less time on two cores with AVX-512, for 110 MB. The first Session of
        a process decides for all.
    :param features: the tensor of the features in the prepared graph; empty: none.
    :raises LibraryMissing: the C API is not available.
    :raises SessionError: the prepared model is damaged or does not fit this TensorFlow.
    """

    def __init__(
        self, model: Path | PreparedModel, threads: int, cache_filters: bool = False, features: str = ""
    ) -> None:
        started = time.perf_counter()
        prepared = model if isinstance(model, PreparedModel) else open_prepared(model)
        if cache_filters:
            os.environ.setdefault(FROZEN_WEIGHTS, "1")
        library = Library()
        loaded = time.perf_counter()
        index = prepared.index
        self._library = library
        self._graph = Graph(library, prepared.graph)
        self._session = GraphSession(library, self._graph, session_config(threads))
        self._input = self._graph.output(index.input)
        self._fetched = [self._graph.output(index.output)]
        # Always fetched: TensorFlow keeps another copy of its executors for every set of fetches.
        tap = self._graph.output(features) if features else None
        if tap and is_feature_vector(tap.shape or ()):
            self._fetched.append(tap)
        self._assign(prepared)
        self._jpeg = self._graph.output(index.jpeg_input) if index.jpeg_input else None
        self._image = self._graph.output(index.image_input) if index.image_input else None
        self._shape = index.input_shape
        self._idle: list[_Buffer] = []
        # The first run creates executors and compiles kernels, so it counts as loading.
        _, found = self.run_with_features(np.zeros(self._shape, np.float32))
        if cache_filters:  # with oneDNN, most of the file is not read again
            release_clean_pages(prepared.weights.resolve())
        self._facts = SessionFacts(
            engine="tensorflow",
            binding="C API",
            version=library.version,
            threads=threads,
            import_ms=(loaded - started) * 1000,
            build_ms=(time.perf_counter() - loaded) * 1000,
            reentrant=True,
            features=found.size,
        )

    @property
    def facts(self) -> SessionFacts:
        """Facts about the Session."""
        return self._facts

    def devices(self) -> list[tuple[str, str]]:
        """Return name and type of every device that TensorFlow sees."""
        return self._session.devices()

    def run(self, feed: Feed) -> Scores:
        """Classify pixels, or an image or JPEG that the graph decodes. Return ``(outputs,) float32``.

        :raises BadFeed: the input does not fit, or the graph cannot decode it.
        :raises SessionError: TensorFlow reports a failure.
        """
        return self.run_with_features(feed)[0]

    def run_with_features(self, feed: Feed) -> tuple[Scores, Features]:
        """Classify like :meth:`run`, and return the features, too."""
        with self._feeding(feed) as (place, tensor):
            if place is self._input:
                return self._classify(tensor)
            with self._decode(place, tensor) as pixels:
                return self._classify(pixels)

    def _classify(self, pixels: Tensor) -> tuple[Scores, Features]:
        found, _ = self._session.run([(self._input, pixels)], self._fetched)
        scores, *features = [each.array().reshape(-1).astype(np.float32, copy=False) for each in found]
        return scores, features[0] if features else np.empty(0, np.float32)

    def _decode(self, place: Output, tensor: Tensor) -> Tensor:
        """Return the pixels that the graph computes from a feed at another place.

        Needs its own run: for every combination of feeds TensorFlow keeps another copy of the operations it
        runs, and those of the network can hold their filters.
        """
        try:
            (pixels,), _ = self._session.run([(place, tensor)], [self._input])
        except TensorFlowError as error:
            if error.code == INVALID_ARGUMENT and place is self._jpeg:
                raise BadFeed(f"damaged JPEG: {error}") from None
            raise
        return pixels

    @contextmanager
    def _feeding(self, feed: Feed) -> Iterator[tuple[Output, Tensor]]:
        """Yield the place and the tensor for `feed`, valid during the block."""
        if isinstance(feed, bytes):
            if self._jpeg is None:
                raise BadFeed("this graph does not decode JPEGs")
            with Tensor.string(self._library, feed) as tensor:
                yield self._jpeg, tensor
        elif feed.dtype == np.uint8 and self._image is not None:
            with Tensor.lend(self._library, np.ascontiguousarray(feed)) as tensor:
                yield self._image, tensor
        elif feed.shape != self._shape or feed.dtype != np.float32:
            raise BadFeed(
                f"the model takes float32 of shape {self._shape}, but got {feed.dtype} of shape {feed.shape}"
            )
        else:
            buffer = self._buffer()
            np.copyto(buffer.pixels, feed)
            try:
                yield self._input, buffer.tensor
            finally:
                self._idle.append(buffer)

    def _buffer(self) -> _Buffer:
        """Return a buffer that no other run uses. There are as many as there were concurrent runs."""
        try:
            return self._idle.pop()
        except IndexError:
            pixels = aligned_empty(self._shape, np.float32)
            return _Buffer(pixels, Tensor.lend(self._library, pixels))

    def close(self) -> None:
        """Free TensorFlow's memory."""
        for buffer in self._idle:
            buffer.tensor.close()
        self._session.close()
        self._graph.close()

    def _assign(self, prepared: PreparedModel) -> None:
        weights = prepared.map_weights()
        feeds, targets = [], []
        for weight in prepared.index.weights:
            value = weights[weight.offset : weight.offset + weight.size_bytes].view(np.float32)
            feeds.append(
                (self._graph.output(weight.feed), Tensor.lend(self._library, value.reshape(weight.shape)))
            )
            targets.append(self._graph.operation(weight.assign))
        if feeds:
            self._session.run(feeds, [], targets)
        for _, tensor in feeds:
            tensor.close()


def session_config(threads: int) -> bytes:
    """Return a serialized ``ConfigProto`` with this number of threads, and without the optimizer, which has
    run.

    Inception's branches run in parallel, as in a Session with default settings: this takes 4 MB and reduces
    the time of a run on two cores by 1 to 9 %, compared to one operation after another. With one thread, the
    calling thread runs the graph (inter_op_parallelism_threads below 0), so that two runs use a core each.

    Encoded by hand, because its Python class belongs to the whole package. A field is its number and wire
    type as one varint, and its value (tensorflow/core/protobuf/config.proto): intra_op_parallelism_threads =
    2, inter_op_parallelism_threads = 5, graph_options = 10 with optimizer_options = 3 (opt_level = 3, L0 =
    -1) and rewrite_options = 10 (disable_meta_optimizer = 19;
    tensorflow/core/protobuf/rewriter_config.proto).
    """
    optimizer_options = _field(3, -1)
    rewrite_options = _field(19, 1)
    graph_options = _message(3, optimizer_options) + _message(10, rewrite_options)
    return _field(2, threads) + _field(5, threads if threads > 1 else -1) + _message(10, graph_options)


def _field(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _message(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # negative numbers are encoded as 64-bit two's complement
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
